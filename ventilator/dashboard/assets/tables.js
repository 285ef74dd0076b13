// The rows of streams, workers and the quarantine ledger.

import { fill, find, make, say, show } from "./dom.js";
import { bytes, count, percent, rate, several, span, sum } from "./words.js";

// Lines of the ledger that the ventilator sends at most.
const MOST_SHOWN = 200;
// Hosts that are named when their caches cannot grow.
const HOSTS = 3;

const also = (text) => make("span", { class: "also" }, text);

function progress(epoch) {
  const done = epoch.delivered + epoch.quarantined + epoch.dropped;
  const share = epoch.expected ? done / epoch.expected : 0;
  const bar = make("progress", { max: Math.max(1, epoch.expected), value: done,
    "aria-label": `epoch ${epoch.epoch + 1}: ${percent(share)}` });
  return [
    make("span", { class: "epoch" }, `${count(epoch.epoch + 1)}`),
    " ",
    bar,
    " ",
    make("span", { class: "of" }, `${count(done)} of ${count(epoch.expected)}`),
  ];
}

function trainerRow(stream, trainer, alone) {
  const { stats } = trainer;
  const who = stats.world_size > 1 ? `rank ${stats.rank} of ${stats.world_size}` : alone ? "" : "a trainer of its own";
  const copies = trainer.copy_fraction ? ` · copies ${percent(trainer.copy_fraction)}` : "";
  const wait = `${percent(trainer.wait_fraction)}${copies}`;
  return {
    key: `${stream.name}\n${stats.reader}`,
    cells: [
      { head: true, parts: [stream.name, ...(who ? [make("span", { class: "soft who" }, who)] : []),
        also(`${rate(trainer.rate)} samples/s · waits ${wait}`)] },
      { class: "progress", parts: progress(stats.epoch) },
      { class: "number wide", text: rate(trainer.rate) },
      { class: "number wide", text: wait },
      { class: "number wide", text: several(stats.in_flight, "batch", "batches") },
      { class: "number", text: span(trainer.eta_s) },
    ],
  };
}

function restingRow(stream) {
  const stopped = stream.sink?.stopped;
  const facts = `${several(stream.items, "item")}, ${several(stream.samples, "sample")}`;
  return {
    key: stream.name,
    class: stopped ? "alarm" : "resting",
    cells: [
      { head: true, text: stream.name },
      { text: stopped ? `stopped: ${stopped}` : `no trainer reads it · ${facts} an epoch` },
      { class: "number wide", text: "" },
      { class: "number wide", text: "" },
      { class: "number wide", text: "" },
      { class: "number", text: "" },
    ],
  };
}

export function showStreams(now) {
  fill(find("streams").tBodies[0], now.streams.flatMap((stream) => {
    const readers = now.trainers.filter((trainer) => trainer.stats.stream === stream.name);
    if (!readers.length || stream.sink?.stopped) return [restingRow(stream)];
    return readers.map((trainer) => trainerRow(stream, trainer, readers.length === 1));
  }));
}

const STAGES = { idle: "idle", read: "reading", make: "making", send: "sending" };
const SORTS = {
  name: (worker) => worker.name, rate: (worker) => worker.rate, busy: (worker) => worker.busy,
  leases: (worker) => worker.leases, age: (worker) => worker.task_s, failures: (worker) => worker.stats.failures,
};

function workerRow(worker, most) {
  const { stats } = worker;
  const stage = worker.cut_off ? "cut off" : worker.hedged ? "hanging" : STAGES[stats.stage];
  const age = worker.task_s > 0 && stage !== "idle" ? span(worker.task_s) : "";
  const bar = make("span", { class: "bar", "aria-hidden": "true" });
  bar.style.setProperty("--share", most ? (worker.rate / most).toFixed(3) : 0);
  const host = worker.name.startsWith(worker.host) ? "" : worker.host;
  return {
    key: worker.name,
    class: worker.cut_off || worker.hedged ? "alarm" : "",
    cells: [
      { head: true, parts: [worker.name, ...(host ? [make("span", { class: "soft who" }, host)] : []),
        also(`busy ${percent(worker.busy)} · ${worker.leases} of ${worker.slots} tasks`)] },
      { class: "number", parts: [bar, make("span", { class: "digits" }, rate(worker.rate))] },
      { class: "number wide", text: percent(worker.busy) },
      { class: "number wide", text: `${worker.leases} / ${worker.slots}` },
      { class: "now", parts: [stage, " ", make("span", { class: "soft" }, age)] },
      { class: `number${stats.failures ? " alarm" : ""}`, text: count(stats.failures) },
    ],
  };
}

// A line about the caches of decoded images; the workers of a host share one.
function cacheLine(workers) {
  const caching = workers.filter((worker) => worker.stats.cache);
  if (!caching.length) return "";
  const total = (name) => sum(caching.map((worker) => worker.stats.cache[name]));
  const hosts = [...new Map(caching.map((worker) => [worker.host, worker.stats.cache])).values()];
  const [held, limit] = ["held_bytes", "limit_bytes"].map((name) => sum(hosts.map((cache) => cache[name])));
  const asked = total("hits") + total("misses");
  return `Cache: ${percent(asked ? total("hits") / asked : null)} hits · ${span(total("saved_s"))} of decoding saved · ` +
    `${bytes(held)} of ${bytes(limit)}`;
}

// Where caches cannot grow, and why: a full disk. Reaching their limit is no fault.
function stoppedLine(workers) {
  const stopped = workers.filter((worker) => worker.stats.cache?.stopped);
  const places = [...new Set(stopped.map((worker) => `${worker.host} (${worker.stats.cache.stopped})`))].sort();
  const more = places.length > HOSTS ? ` and ${count(places.length - HOSTS)} more` : "";
  return places.length ? `The cache stopped growing on ${places.slice(0, HOSTS).join(", ")}${more}` : "";
}

// A line about whole shards that are kept; the workers of a host share them, and each knows their size when it made room last.
function shardsLine(workers) {
  const keeping = workers.filter((worker) => worker.stats.shards);
  if (!keeping.length) return "";
  const total = (name) => sum(keeping.map((worker) => worker.stats.shards[name]));
  const [held, limit] = ["held_bytes", "limit_bytes"].map((name) => {
    const hosts = new Map();
    for (const worker of keeping) hosts.set(worker.host, Math.max(hosts.get(worker.host) ?? 0, worker.stats.shards[name]));
    return sum([...hosts.values()]);
  });
  const asked = total("hits") + total("misses");
  return `Kept shards: ${percent(asked ? total("hits") / asked : null)} hits · ${count(total("fetched"))} fetched · ` +
    `${count(total("removed"))} removed · ${bytes(held)} of ${bytes(limit)}`;
}

export class Workers {
  constructor(changed) {
    this.table = find("workers");
    this.key = "name";
    this.rising = true;
    this.table.tHead.addEventListener("click", (event) => {
      const key = event.target.closest("button")?.dataset.key;
      if (!key) return;
      this.rising = key === this.key ? !this.rising : key === "name";
      this.key = key;
      for (const head of this.table.tHead.rows[0].cells) {
        if (head.querySelector("button").dataset.key !== key) head.removeAttribute("aria-sort");
        else head.setAttribute("aria-sort", this.rising ? "ascending" : "descending");
      }
      changed();
    });
  }

  show(now) {
    const value = SORTS[this.key];
    const way = this.rising ? 1 : -1;
    const order = (one, other) => {
      const [a, b] = [value(one), value(other)];
      const result = typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b;
      return way * result || one.name.localeCompare(other.name, "en", { numeric: true });
    };
    const most = Math.max(0, ...now.workers.map((worker) => worker.rate));
    fill(this.table.tBodies[0], [...now.workers].sort(order).map((worker) => workerRow(worker, most)));
    show(this.table.parentElement, now.workers.length > 0);
    show(find("workers-none"), !now.workers.length);
    const cache = [cacheLine(now.workers), shardsLine(now.workers)].filter(Boolean).join(" · ");
    say(find("cache"), cache);
    show(find("cache"), Boolean(cache));
    const stopped = stoppedLine(now.workers);
    say(find("cache-stopped"), stopped);
    show(find("cache-stopped"), Boolean(stopped));
  }
}

// One row for each sink, where several share the streams.
export function showSinks(now) {
  const several = now.sinks.length > 1;
  show(find("sinks-section"), several);
  fill(find("sinks").tBodies[0], (several ? now.sinks : []).map((sink) => ({
    key: sink.name,
    cells: [
      { head: true, class: "name", text: sink.name },
      { class: "number", text: count(sink.trainers) },
      { class: "number", text: count(sink.held) },
      { class: "number wide", text: bytes(sink.bytes) },
      { class: "number wide", text: bytes(sink.sent_bytes) },
    ],
  })));
}

// An item fails again in every epoch: one row says so.
function byFile(lines) {
  const found = new Map();
  for (const line of lines) {
    const key = `${line.stream}\n${line.path}\n${line.reason}`;
    if (found.has(key)) found.get(key).push(line);
    else found.set(key, [line]);
  }
  return [...found];
}

function ledgerRow([key, lines]) {
  const [last, first] = [lines[0], lines.at(-1)];
  const epochs = last.epoch === first.epoch ? `epoch ${last.epoch + 1}` : `epochs ${first.epoch + 1}–${last.epoch + 1}`;
  const tries = last.attempts > 1 ? [several(last.attempts, "try", "tries")] : [];
  const facts = [last.stream, epochs, ...tries, last.worker].filter(Boolean).join(" · ");
  return {
    key,
    cells: [
      { head: true, class: "path", text: last.path },
      { class: "reason", parts: [make("span", { class: "kind" }, last.kind), last.reason, make("span", { class: "facts" }, facts)] },
    ],
  };
}

export function showLedger(lines) {
  fill(find("ledger").tBodies[0], byFile(lines).map(ledgerRow));
  show(find("ledger-region"), lines.length > 0);
  show(find("ledger-none"), !lines.length);
}

export function showLedgerCount(now, lines) {
  const shown = lines.length;
  const total = now.sink?.quarantined ?? 0; // lines of the ledger: a file has one in each epoch
  const kinds = {};
  for (const stream of now.streams) {
    for (const [kind, number] of Object.entries(stream.sink?.quarantined_items ?? {})) kinds[kind] = (kinds[kind] ?? 0) + number;
  }
  const words = Object.entries(kinds).sort((one, other) => other[1] - one[1]).map(([kind, number]) => `${count(number)} ${kind}`);
  const cut = shown >= MOST_SHOWN && total > shown ? ` · those of the newest ${count(shown)} failures are shown` : "";
  const files = sum(Object.values(kinds));
  say(find("ledger-count"), files ? `${several(files, "file")} · ${words.join(", ")}${cut}` : "");
}
