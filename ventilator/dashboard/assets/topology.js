// The topology as SVG: who there is, and what passes between them per second. Beside each other where there is room,
// below each other where there is not.

import { draw, find, say } from "./dom.js";
import { bytes, count, percent, rate, several, sum } from "./words.js";

// Where the stack stands still or is held up, by the verdict's word (and, of `stalled`, its cause).
const LIMITS = {
  "trainer-bound": "trainers", "worker-bound": "workers", "window-bound": "sink", "read-bound": "workers", "quarantine-bound": "workers",
  "sink-bound": "sink", "copy-bound": "trainers", "writer-bound": "writers", "idle": "trainers",
};
const CAUSES = { "no worker": "workers", "no sink": "sink", "hanging task": "workers" };

const NARROW = 720;

function nodes(now) {
  const streams = now.streams;
  const ready = sum(streams.map((stream) => stream.ready));
  const leased = sum(streams.map((stream) => stream.leased));
  const stats = streams.map((stream) => stream.sink).filter(Boolean);
  const [held, room] = [sum(stats.map((each) => each.held)), sum(stats.map((each) => each.window))];
  const busy = now.workers.length ? sum(now.workers.map((worker) => worker.busy)) / now.workers.length : null;
  const waits = now.verdict.wait_fraction;
  const found = [
    ["ventilator", "Ventilator", `${several(ready, "task")} ready`, `${count(leased)} leased`],
    ["workers", several(now.workers.length, "worker"), `busy ${percent(busy)}`,
      several(sum(now.workers.map((worker) => worker.slots)), "slot")],
    ["sink", now.sinks.length > 1 ? several(now.sinks.length, "sink") : now.sink ? "Sink" : "No sink", `${count(held)} held`, `of ${count(room)} wanted`],
    ["trainers", now.trainers.length ? several(now.trainers.length, "trainer") : "No trainer",
      `waits ${percent(waits)}`,
      `${several(sum(now.trainers.map((trainer) => trainer.stats.in_flight)), "batch", "batches")} ahead`],
  ];
  if (now.writers.length) {
    found.push(["writers", several(now.writers.length, "writer"),
      `${count(sum(now.writers.map((writer) => writer.samples)))} written`,
      `${count(sum(now.writers.map((writer) => writer.waiting)))} waiting`]);
  }
  return found.map(([key, title, ...lines]) => ({ key, title, lines }));
}

function edges(now) {
  const flow = now.flow;
  return [
    { from: "ventilator", to: "workers", rate: flow.tasks, lines: [`${rate(flow.tasks)} tasks/s`] },
    { from: "workers", to: "sink", rate: flow.made,
      lines: [`${rate(flow.made)} samples/s`, `${bytes(flow.made_bytes)}/s`] },
    { from: "sink", to: "trainers", rate: flow.delivered,
      lines: [`${rate(flow.delivered)} samples/s`, `${bytes(flow.delivered_bytes)}/s`] },
  ];
}

function limiting(verdict) {
  return verdict.word === "stalled" ? CAUSES[verdict.cause] : LIMITS[verdict.word];
}

function box({ key, title, lines }, x, y, width, height, limit, stalled) {
  const state = key === limit ? (stalled ? " stalled" : " limits") : "";
  const group = draw("g", { class: `node${state}`, "data-node": key });
  group.append(draw("rect", { x, y, width, height, rx: 8 }));
  const step = height > 70 ? 19 : 17;
  const top = y + height / 2 - step + 4.5;
  group.append(draw("text", { x: x + 16, y: top, class: "title" }, title));
  lines.forEach((line, index) => {
    group.append(draw("text", { x: x + 16, y: top + step * (index + 1) }, line));
  });
  return group;
}

function arrow(x1, y1, x2, y2, edge) {
  const active = edge.rate > 0 ? "edge active" : "edge";
  const [dx, dy] = [Math.sign(x2 - x1), Math.sign(y2 - y1)];
  const tip = `M${x2 - 7 * dx - 4.5 * dy} ${y2 - 7 * dy - 4.5 * dx}L${x2} ${y2}L${x2 - 7 * dx + 4.5 * dy} ${y2 - 7 * dy + 4.5 * dx}`;
  return draw("g", { class: active, "data-edge": `${edge.from}-${edge.to}` },
    draw("path", { d: `M${x1} ${y1}L${x2} ${y2}` }), draw("path", { d: tip }));
}

function beside(svg, width, now, limit, stalled) {
  const all = nodes(now);
  const main = all.slice(0, 4);
  const [boxWidth, boxHeight, top] = [Math.min(184, width * 0.165), 82, 4];
  const gap = (width - 4 * boxWidth - 2) / 3;
  const at = Object.fromEntries(main.map((node, index) => [node.key, 1 + index * (boxWidth + gap)]));
  for (const edge of edges(now)) {
    const [start, end, y] = [at[edge.from] + boxWidth + 10, at[edge.to] - 10, top + boxHeight / 2];
    const group = arrow(start, y, end, y, edge);
    edge.lines.forEach((line, index) => {
      group.append(draw("text", { x: (start + end) / 2, y: y - 10 + index * 29, "text-anchor": "middle",
        class: index ? "" : "rate" }, line));
    });
    svg.append(group);
  }
  for (const node of main) svg.append(box(node, at[node.key], top, boxWidth, boxHeight, limit, stalled));
  let height = top + boxHeight + 4;
  // Credit runs back along the bottom: it is what keeps memory bounded.
  const [from, to, low] = [at.trainers + boxWidth / 2, at.ventilator + boxWidth / 2, top + boxHeight + 26];
  const writer = all[4];
  const back = draw("g", { class: "credit" });
  back.append(draw("path", { d: `M${from} ${top + boxHeight + 6}V${low - 8}q0 8 -8 8H${to + 8}q-8 0 -8 -8V${top + boxHeight + 7}` }));
  back.append(draw("path", { class: "tip", d: `M${to - 4.5} ${top + boxHeight + 13}L${to} ${top + boxHeight + 6}L${to + 4.5} ${top + boxHeight + 13}` }));
  const words = draw("text", { x: (from + to) / 2, y: low + 4.5, "text-anchor": "middle" }, "credit");
  back.append(draw("rect", { x: (from + to) / 2 - 32, y: low - 9, width: 64, height: 18, class: "behind" }), words);
  svg.append(back);
  height = low + 12;
  if (writer) {
    const y = low + 28;
    svg.append(arrow(at.sink + boxWidth / 2 + 20, top + boxHeight + 10, at.sink + boxWidth / 2 + 20, y - 10,
      { from: "sink", to: "writers", rate: now.flow.delivered }));
    svg.append(box(writer, at.sink, y, boxWidth, boxHeight, limit, stalled));
    height = y + boxHeight + 4;
  }
  return height;
}

function below(svg, width, now, limit, stalled) {
  const [boxHeight, step] = [68, 118];
  const all = nodes(now);
  const links = edges(now);
  if (all.length > 4) links.push({ from: "sink", to: "writers", rate: 0, lines: ["written beside"] });
  all.forEach((node, index) => {
    svg.append(box(node, 1, 1 + index * step, width - 2, boxHeight, limit, stalled));
    const edge = links[index - 1];
    if (!edge) return;
    const y = 1 + (index - 1) * step + boxHeight;
    const group = arrow(24, y + 8, 24, y + step - boxHeight - 8, edge);
    group.append(draw("text", { x: 42, y: y + 30, class: "rate" }, edge.lines.join("   ")));
    svg.append(group);
  });
  return (all.length - 1) * step + boxHeight + 2;
}

export function drawTopology(now) {
  const place = find("topology");
  const width = Math.max(280, place.clientWidth);
  const svg = draw("svg", { role: "img", "aria-labelledby": "topology-words", width });
  const limit = limiting(now.verdict);
  const lay = width < NARROW ? below : beside;
  const height = lay(svg, width, now, limit, now.verdict.word === "stalled");
  svg.setAttribute("height", height);
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  place.replaceChildren(svg);
  say(find("topology-words"), [
    ...nodes(now).map((node) => `${node.title}: ${node.lines.join(", ")}.`),
    ...edges(now).map((edge) => `From ${edge.from} to ${edge.to}: ${edge.lines.join(", ")}.`),
    limit ? `What limits it: ${limit}.` : "",
  ].join(" "));
}
