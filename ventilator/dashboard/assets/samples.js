// A grid of samples that the sink holds now. Asks only while somebody can see it, and never twice at once.

import { find, make, say, show } from "./dom.js";

const EVERY_MS = 4000;

export class Samples {
  constructor(isPaused) {
    this.isPaused = isPaused;
    this.stream = null;
    this.streams = [];
    this.seen = false;
    this.asking = false;
    new IntersectionObserver((entries) => {
      this.seen = entries.at(-1).isIntersecting;
      this.ask();
    }).observe(find("samples-title"));
    document.addEventListener("visibilitychange", () => this.ask());
    setInterval(() => this.ask(), EVERY_MS);
  }

  // Takes in which streams there are; without a choice, the first one that a trainer reads is shown.
  meet(now) {
    const names = now.streams.map((stream) => stream.name);
    if (!names.includes(this.stream)) {
      this.stream = now.trainers[0]?.stats.stream ?? names[0] ?? null;
      this.streams = [];
      this.ask();
    }
    if (names.join("\n") === this.streams.join("\n")) return;
    this.streams = names;
    const place = find("samples-streams");
    place.replaceChildren(...names.map((name) => {
      const button = make("button", { type: "button", "aria-pressed": String(name === this.stream) }, name);
      button.addEventListener("click", () => this.choose(name));
      return button;
    }));
    show(place, names.length > 1);
  }

  choose(name) {
    this.stream = name;
    for (const button of find("samples-streams").children) {
      button.setAttribute("aria-pressed", String(button.textContent === name));
    }
    this.ask();
  }

  async ask() {
    if (!this.stream || !this.seen || document.hidden || this.asking || this.isPaused()) return;
    this.asking = true;
    const stream = this.stream;
    try {
      const answer = await fetch(`/samples?stream=${encodeURIComponent(stream)}`);
      if (answer.ok && stream === this.stream) this.show(await answer.json());
    } catch {
      // the ventilator is away: the page says so elsewhere, and the last pictures stay
    } finally {
      this.asking = false;
      if (stream !== this.stream) this.ask();
    }
  }

  show({ why, large, pictures }) {
    const place = find("samples");
    if (pictures.length) place.classList.toggle("large", Boolean(large));
    if (pictures.length) place.replaceChildren(...pictures.map(tile));
    const none = find("samples-none");
    show(none, !pictures.length);
    say(none, why ? `${why.charAt(0).toUpperCase()}${why.slice(1)}${place.childElementCount ? "; these were the last." : "."}` : "");
  }
}

function tile({ position, path, lines, texts, picture, starts_row: startsRow }) {
  const [first, ...more] = lines.flatMap((line) => line.split(" · "));
  const title = path ? `${path}, position ${position}` : `position ${position}`;
  return make("figure", { class: startsRow ? "sample starts-row" : "sample" },
    make("img", { src: picture, alt: [...lines.slice(0, -1), ...texts, path || lines.at(-1)].join(", "), title, decoding: "async" }),
    make("figcaption", {}, make("b", {}, first), ...more.map((line) => make("span", {}, line)),
      ...texts.map((text) => make("span", { class: "text", title: text }, text))));
}
