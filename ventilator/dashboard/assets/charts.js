// The last minutes as two small charts of our own: throughput, and how much of their time trainers waited.

import { draw, find, make } from "./dom.js";
import { clock, percent, rate } from "./words.js";

const KEPT = 300;
// What a chart spans (s): the shortest that holds all that is known.
const SPANS = [[60, "1 min ago", "30 s"], [120, "2 min ago", "1 min"], [300, "5 min ago", "2½ min"]];
// Two snapshots further apart than this (s) have a gap between them: the ventilator was gone.
const GAP_S = 4;
const [HEIGHT, TOP, BOTTOM] = [132, 8, 20];

export class History {
  constructor() {
    this.points = [];
  }

  // What the server remembers, put behind what this page knows of earlier: a ventilator that started again remembers
  // nothing.
  meet(columns) {
    const told = columns.at.map((at, index) => ({
      at, made: columns.made[index], delivered: columns.delivered[index], wait: columns.wait[index],
    }));
    const first = told.length ? told[0].at : Infinity;
    this.points = [...this.points.filter((point) => point.at < first), ...told].slice(-KEPT);
  }

  add(now) {
    if (this.points.length && this.points.at(-1).at >= now.at) return;
    const { made, delivered } = now.flow;
    this.points.push({ at: now.at, made, delivered, wait: now.verdict.wait_fraction });
    if (this.points.length > KEPT) this.points.shift();
  }
}

function niceTop(value) {
  if (value <= 0) return 1;
  const size = 10 ** Math.floor(Math.log10(value));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((step) => step * size).find((step) => step >= value);
}

// Runs of points that belong together: no gap in time, no missing value.
function runs(points, key) {
  const found = [];
  let last = null;
  for (const point of points) {
    if (point[key] === null || point[key] === undefined) {
      last = null;
      continue;
    }
    if (!last || point.at - last.at > GAP_S) found.push([]);
    found.at(-1).push(point);
    last = point;
  }
  return found;
}

function line(points, key, x, y) {
  return points.map((point, index) => `${index ? "L" : "M"}${x(point.at).toFixed(1)} ${y(point[key]).toFixed(1)}`).join("");
}

function summary(title, points, keys, format) {
  if (!points.length) return `${title}: nothing yet.`;
  return keys.map(([key, name]) => {
    const values = points.map((point) => point[key]).filter((value) => value !== null && value !== undefined);
    if (!values.length) return `${name}: nothing yet.`;
    const mean = values.reduce((total, value) => total + value, 0) / values.length;
    return `${name}: now ${format(values.at(-1))}, mean ${format(mean)}, ` +
      `lowest ${format(Math.min(...values))}, highest ${format(Math.max(...values))}.`;
  }).join(" ");
}

// A chart of `keys` ([[key, name, class]], the first one filled) in the element `id`.
class Chart {
  constructor(id, title, keys, format, top) {
    Object.assign(this, { figure: find(id), title, keys, format, top, at: null });
    this.reading = make("span", { class: "reading" });
    const legend = keys.map(([, name, kind]) => make("span", { class: `legend ${kind}` }, name));
    this.figure.append(make("figcaption", {}, make("b", {}, title), ...(keys.length > 1 ? legend : []), this.reading));
    this.place = make("div", { class: "plot" });
    this.figure.append(this.place);
    this.place.addEventListener("pointermove", (event) => this.read(event.offsetX));
    this.place.addEventListener("pointerleave", () => this.read(null));
  }

  read(at) {
    this.at = at;
    if (this.points) this.show(this.points);
  }

  show(points) {
    this.points = points;
    const width = Math.max(240, this.place.clientWidth);
    const now = points.length ? points.at(-1).at : 0;
    const most = Math.max(0, ...points.flatMap((point) => this.keys.map(([key]) => point[key] ?? 0)));
    const top = this.top ?? niceTop(most);
    const known = points.length ? now - points[0].at : 0;
    const [span, first, middle] = SPANS.find(([seconds]) => known <= seconds) ?? SPANS.at(-1);
    const x = (at) => width - 1 - ((now - at) / span) * (width - 2);
    const y = (value) => TOP + (1 - Math.min(value, top) / top) * (HEIGHT - TOP - BOTTOM);
    const svg = draw("svg", { role: "img", width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`,
      "aria-label": `${this.title}, from ${first}. ${summary(this.title, points, this.keys, this.format)}` });
    const levels = [0, top / 2, top];
    for (const value of levels) svg.append(draw("line", { x1: 0, x2: width, y1: y(value), y2: y(value), class: "grid" }));
    const ago = [[span, first, "start"], [span / 2, middle, "middle"], [0, "now", "end"]];
    for (const [seconds, words, anchor] of ago) {
      svg.append(draw("text", { x: x(now - seconds), y: HEIGHT - 4, class: "tick", "text-anchor": anchor }, words));
    }
    this.keys.forEach(([key, , kind], index) => {
      for (const run of runs(points, key)) {
        const path = line(run, key, x, y);
        if (!index) {
          const area = `${path}L${x(run.at(-1).at)} ${y(0)}L${x(run[0].at)} ${y(0)}Z`;
          svg.append(draw("path", { d: area, class: "area" }));
        }
        svg.append(draw("path", { d: path, class: `line ${kind}` }));
      }
    });
    for (const value of levels.slice(1)) {
      svg.append(draw("text", { x: 0, y: y(value) + 14, class: "tick level" }, this.format(value)));
    }
    this.mark(svg, points, x, y);
    this.place.replaceChildren(svg);
  }

  mark(svg, points, x, y) {
    let point = points.at(-1);
    if (this.at !== null && points.length) {
      point = points.reduce((best, each) =>
        (Math.abs(x(each.at) - this.at) < Math.abs(x(best.at) - this.at) ? each : best));
      svg.append(draw("line", { x1: x(point.at), x2: x(point.at), y1: TOP, y2: y(0), class: "cursor" }));
    }
    if (!point) return;
    const [key] = this.keys[0];
    if (point[key] !== null && point[key] !== undefined) {
      svg.append(draw("circle", { cx: Math.min(x(point.at), x(points.at(-1).at) - 3), cy: y(point[key]), r: 3.5, class: "dot" }));
    }
    const values = this.keys.map(([name]) => (point[name] === null ? "–" : this.format(point[name])));
    this.reading.textContent = (this.at === null ? "" : `${clock(point.at)}  `) + values.join(" / ");
  }
}

export function makeCharts() {
  const charts = [
    new Chart("chart-rate", "Samples per second", [["delivered", "delivered", "first"], ["made", "made", "second"]], rate),
    new Chart("chart-wait", "Trainers wait", [["wait", "waiting", "first"]], percent, 1),
  ];
  return (history) => charts.forEach((chart) => chart.show(history.points));
}
