// Numbers, sizes, times and names as people read them.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenth = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });

export const count = (value) => whole.format(value);
export const percent = (value) => (value === null || value === undefined ? "–" : `${whole.format(value * 100)}%`);
export const rate = (value) => (value > 0 && value < 10 ? tenth.format(value) : whole.format(value));

export function bytes(value) {
  for (const [size, unit] of [[1e9, "GB"], [1e6, "MB"], [1e3, "kB"]]) {
    if (value >= size) return `${rate(value / size)} ${unit}`;
  }
  return `${whole.format(value)} B`;
}

export function span(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 10) return `${tenth.format(seconds)} s`;
  if (seconds < 100) return `${whole.format(seconds)} s`;
  if (seconds < 6000) return `${whole.format(seconds / 60)} min`;
  if (seconds < 172800) return `${whole.format(seconds / 3600)} h`;
  return `${whole.format(seconds / 86400)} days`;
}

export const several = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;
export const clock = (at) => new Date(at * 1000).toLocaleTimeString("en-GB");
export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
export const sum = (values) => values.reduce((total, value) => total + value, 0);
