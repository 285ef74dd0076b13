// Listens to the ventilator and hands each snapshot to those who show it. Says so when nothing is heard any longer.

import { History, makeCharts } from "./charts.js";
import { find, say, show } from "./dom.js";
import { Samples } from "./samples.js";
import { showLedger, showLedgerCount, showSinks, showStreams, Workers } from "./tables.js";
import { drawTopology } from "./topology.js";
import { capital, clock, percent, rate, several, span, sum } from "./words.js";

// Seconds without a word after which the connection counts as lost; an event comes each second.
const SILENT_S = 5;
const AGAIN_MS = 2000;

const history = new History();
const showCharts = makeCharts();
const workers = new Workers(() => now && workers.show(now));
const samples = new Samples(() => paused);
let now = null;
let ledger = [];
let paused = false;
let spoken = "";
let heardAt = performance.now();

function showVerdict() {
  const { verdict } = now;
  const word = verdict.cause ? `${verdict.word}: ${verdict.cause}` : verdict.word;
  say(find("verdict-word"), capital(word));
  const sentence = verdict.sentence.startsWith(`${verdict.word}: `) ? verdict.sentence.slice(verdict.word.length + 2) : verdict.sentence;
  say(find("verdict-sentence"), `${capital(sentence)}${/[.!?]$/.test(sentence) ? "" : "."}`);
  find("verdict").dataset.word = verdict.word;
  if (word !== spoken) say(find("verdict-spoken"), `${word}. ${sentence}`);
  spoken = word;
  document.title = `${capital(word)} – Penstock`;
}

function showScaling() {
  const { wanted, most, sentence, for_s: seconds } = now.scaling;
  const bound = most === null ? "" : ` of at most ${most}`;
  say(find("scaling"), wanted === null ? "" : `${several(wanted, "worker")}${bound} wanted, for ${span(seconds)}: ${sentence}.`);
}

function showStandby() {
  const { standby } = now;
  const place = find("standby");
  say(place, standby?.acting ? `${capital(standby.sentence)}.` : "");
  place.dataset.alarming = String(Boolean(standby?.acting) && !standby.waiting.some((row) => row.alive));
}

function showFigures() {
  say(find("figure-delivered"), rate(now.flow.delivered));
  say(find("figure-wait"), percent(now.verdict.wait_fraction));
  say(find("figure-workers"), String(now.workers.length));
  const lost = sum(Object.values(now.lost));
  say(find("figure-lost"), lost ? `${several(lost, "has", "have")} gone` : "connected");
  const streams = now.streams.map((stream) => stream.name).join(", ");
  say(find("facts"), `${now.version} · ${streams} · up ${span(now.up_s)}`);
}

function showAll() {
  if (!now) return;
  showVerdict();
  showScaling();
  showStandby();
  showFigures();
  drawTopology(now);
  showCharts(history);
  showStreams(now);
  workers.show(now);
  showSinks(now);
  showLedger(ledger);
  showLedgerCount(now, ledger);
}

function showLink() {
  const silent = (performance.now() - heardAt) / 1000;
  const lost = silent > SILENT_S;
  const state = lost ? "lost" : paused ? "paused" : now ? "live" : "connecting";
  find("link").dataset.state = state;
  say(find("link"), state);
  show(find("lost"), lost);
  document.body.classList.toggle("stale", lost);
  if (!lost) return;
  const since = now ? ` What you see is from ${clock(now.at)}.` : "";
  say(find("lost"), `No word from the ventilator for more than ${SILENT_S} seconds.${since} Trying again.`);
}

function heard() {
  heardAt = performance.now();
  showLink();
}

function listen() {
  const source = new EventSource("/events");
  source.addEventListener("history", (event) => history.meet(JSON.parse(event.data)));
  source.addEventListener("starting", (event) => {
    now = null;
    say(find("verdict-word"), "Starting");
    say(find("verdict-sentence"), `The ventilator is ${JSON.parse(event.data).why}.`);
    heard();
  });
  // Between snapshots it only says that the line is open: a ventilator that makes none any longer is not well.
  source.addEventListener("alive", () => now || heard());
  source.addEventListener("ledger", (event) => {
    ledger = JSON.parse(event.data);
    if (!paused) showLedger(ledger);
  });
  source.addEventListener("snapshot", (event) => {
    now = JSON.parse(event.data);
    history.add(now);
    heard();
    if (paused || document.hidden) return;
    samples.meet(now);
    showAll();
  });
  source.addEventListener("error", () => {
    if (source.readyState !== EventSource.CLOSED) return; // it tries again by itself
    source.close();
    setTimeout(listen, AGAIN_MS);
  });
}

find("pause").addEventListener("click", () => {
  paused = !paused;
  find("pause").setAttribute("aria-pressed", String(paused));
  showLink();
  if (!paused) showAll();
});
new ResizeObserver(() => {
  if (!now) return;
  drawTopology(now);
  showCharts(history);
}).observe(document.querySelector("main"));
document.addEventListener("visibilitychange", () => !document.hidden && !paused && showAll());
setInterval(showLink, 1000);
listen();
