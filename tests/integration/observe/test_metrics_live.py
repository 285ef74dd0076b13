"""Every quantity that metrics promise, provoked for real: a series that never moves would say that all is well."""

import os
import signal
from pathlib import Path

import pytest
import zmq
from prometheus_client.parser import text_string_to_metric_families as parse
from support.hostile import Attacker
from support.situations import Trainer, write_transforms
from support.sources.tars import write_tar
from support.streams import make_images, make_spec, make_stream, run_stack, until
from support.web import serve

from penstock.launcher.stack import LocalStack

pytestmark = [pytest.mark.integration, pytest.mark.chaos, pytest.mark.long]

#: What a stack shows that trains and has seen nothing bad: name and labels, in the labels' order.
_QUIET = """
ventilator penstock_ventilator_workers
ventilator penstock_ventilator_slots
ventilator penstock_ventilator_leases
ventilator penstock_ventilator_sink_connected
ventilator penstock_ventilator_tasks stream=train state=leased
ventilator penstock_ventilator_tasks_finished_total stream=train
ventilator penstock_ventilator_worker_seconds_total stream=train stage=decode
ventilator penstock_trainer_wait_ratio stream=train rank=0
sink penstock_sink_results_total outcome=accepted
sink penstock_sink_received_bytes_total
sink penstock_sink_trainers stream=train
sink penstock_sink_window_samples stream=train
sink penstock_sink_held_samples stream=train
sink penstock_sink_credit_batches stream=train
sink penstock_sink_batches_total stream=train
sink penstock_sink_sent_bytes_total stream=train
sink penstock_sink_samples_total stream=train outcome=delivered
sink penstock_sink_samples_total stream=train outcome=quarantined
sink penstock_sink_samples_total stream=train outcome=dropped
sink penstock_sink_items_quarantined_total stream=train kind=read
sink penstock_sink_items_quarantined_total stream=train kind=decode
sink penstock_sink_starved_seconds_total stream=train
worker penstock_worker_tasks_total
worker penstock_worker_samples_total
worker penstock_worker_sent_bytes_total
worker penstock_worker_items_total outcome=made
worker penstock_worker_items_total outcome=failed
worker penstock_worker_stage_seconds_count stage=read
worker penstock_worker_stage_seconds_sum stage=read
worker penstock_worker_stage_seconds_sum stage=decode
worker penstock_worker_stage_seconds_sum stage=transform
worker penstock_worker_stage_seconds_sum stage=send
worker penstock_worker_leases
worker penstock_worker_current_task_seconds
"""
_BUSY_TRAINER = """
sink penstock_sink_blocked_seconds_total stream=train
sink penstock_sink_in_flight_samples stream=train
sink penstock_sink_in_flight_batches stream=train
"""
_HANGING_WORKER = """
ventilator penstock_ventilator_head_of_line_age_seconds stream=train
ventilator penstock_ventilator_tasks_hedged_total stream=train
"""
_TWO_ANSWERS = {f"sink penstock_sink_results_total outcome={outcome}" for outcome in ("duplicate", "unwanted")}
_KILLED_WORKER = """
ventilator penstock_ventilator_workers_gone_total how=unreachable
ventilator penstock_ventilator_tasks_repeated_total stream=train
worker penstock_restarts_total
"""
_CACHED = """
worker penstock_worker_cache_images_total outcome=hit
worker penstock_worker_cache_images_total outcome=miss
worker penstock_worker_cache_read_bytes_total
worker penstock_worker_cache_written_bytes_total
worker penstock_worker_cache_saved_seconds_total
worker penstock_worker_cache_held_bytes
"""
_KEPT_SHARDS = """
worker penstock_worker_shards_images_total outcome=hit
worker penstock_worker_shards_images_total outcome=miss
worker penstock_worker_shards_read_bytes_total
worker penstock_worker_shards_requested_bytes_total
worker penstock_worker_shards_total outcome=fetched
worker penstock_worker_shards_total outcome=removed
worker penstock_worker_shards_bytes_total outcome=fetched
worker penstock_worker_shards_bytes_total outcome=removed
worker penstock_worker_shards_held_bytes
"""
_NONSENSE = """
ventilator penstock_rejected_messages_total reason=version
sink penstock_rejected_messages_total reason=version
"""


class Scrapes:
    """The highest value of every series so far."""

    def __init__(self, stack: LocalStack) -> None:
        """Have seen nothing."""
        self._stack = stack
        self._highest: dict[str, float] = {}

    def wait_for(self, names: str) -> None:
        """Wait until each of these, a line each, has been above zero; what has not stands in the error."""
        wanted = set(names.strip().splitlines())
        try:
            until(lambda: wanted <= self.moved(), "metrics to move")
        except AssertionError:
            raise AssertionError(f"never above zero: {sorted(wanted - self.moved())}") from None

    def moved(self) -> set[str]:
        """Scrape all services; return the series that have been above zero."""
        for part, text in self._stack.metrics().items():
            for family in parse(text):
                for sample in family.samples:
                    labels = [f"{name}={value}" for name, value in sample.labels.items()]
                    name = " ".join([part.partition("-")[0], sample.name, *sorted(labels, key=_by_place)])
                    self._highest[name] = max(sample.value, self._highest.get(name, 0.0))
        return {name for name, value in self._highest.items() if value > 0}


def _by_place(label: str) -> bool:
    return not label.startswith("stream=")


def all_hold_tasks(stack: LocalStack) -> bool:
    """Return whether both workers do: what is stopped or killed without any costs nothing, and moves no metric."""
    rows = stack.snapshot().workers
    return 2 == len(rows) and all(row.leases > 1 and not row.hedged for row in rows)


def is_hedged(stack: LocalStack, pid: int) -> bool:
    """Return whether what a worker holds was given to others too."""
    return any(row.hedged and row.name.endswith(f"/{pid}") for row in stack.snapshot().workers)


def window_of(stack: LocalStack) -> int:
    """Return how many samples ahead of the trainer what is wanted ends; 0: no service reports it right now."""
    [stream] = stack.snapshot().streams
    return stream.sink.window if stream.sink else 0


def test_each_quantity_moves_when_it_is_provoked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training run; a trainer that is slow; a worker that hangs, wakes up and is killed; messages that are wrong."""
    monkeypatch.setenv("PYTHONPATH", str(write_transforms(tmp_path / "packages")))
    photos = make_images(tmp_path / "photos", each=15)
    (photos / "cat" / "0003.jpg").write_bytes(b"no image")
    (photos / "dog" / "0004.jpg").write_bytes(b"")
    stream = make_stream(drop_remainder=True, batch_size=17, window_mb=0.8, cache={"gb": 0.1})
    # What workers hold takes them seconds: they have tasks however slow the others are.
    stream["transform"]["custom"] = [{"name": "dawdle", "parameters": {"seconds": 0.05}}]
    patient = {"silence_s": 3600.0}
    cache = {"cache": str(tmp_path / "cache")}
    stack = run_stack(make_spec(photos, train=stream), workers=2, ventilator=patient, worker=cache)
    with stack, Trainer(stack.feed()) as trainer:
        seen = Scrapes(stack)
        seen.wait_for(_QUIET)
        seen.wait_for(_CACHED)

        trainer.step_s = 2.0
        seen.wait_for(_BUSY_TRAINER)
        trainer.step_s = 0.0

        worker = stack.children["worker-0"]
        until(lambda: all_hold_tasks(stack), "both workers to have tasks again")
        os.kill(worker.process.pid, signal.SIGSTOP)
        until(lambda: is_hedged(stack, worker.process.pid), "what it holds to be given to the other")
        seen.wait_for(_HANGING_WORKER)
        enough = trainer.feed.stats.samples + until(lambda: window_of(stack), "the window")
        until(lambda: trainer.feed.stats.samples > enough, "the other worker to have made all that it holds")
        os.kill(worker.process.pid, signal.SIGCONT)
        until(lambda: seen.moved() & _TWO_ANSWERS, "a result that another worker's came before")

        until(lambda: all_hold_tasks(stack), "the worker that hung to have tasks again")
        os.kill(worker.process.pid, signal.SIGKILL)
        seen.wait_for(_KILLED_WORKER)

        nonsense = [b"penstock/99 Heartbeat", b"{}"]
        with (
            Attacker(zmq.DEALER, stack.addresses.ventilator) as one,
            Attacker(zmq.PUSH, stack.addresses.results) as other,
        ):
            one.send([nonsense])
            other.send([nonsense])
            seen.wait_for(_NONSENSE)


def test_kept_shards_move_theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for one shard of two: it is fetched and read from, and the other requested; former content is removed."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    files = sorted(make_images(tmp_path / "images", each=8, size=48).rglob("*.jpg"))
    shards = tmp_path / "shards"
    shards.mkdir()
    source = {"kind": "tar", "root": "photos", "path": "{0..1}.tar", "label": "", "cache_gb": 1e-4}
    with serve(shards) as web:
        spec = make_spec(shards, train=make_stream(source=source)) | {"roots": {"photos": web.url}}
        for run in range(2):
            for number in range(2):
                members = [(f"{file.parent.name}{file.stem}.jpg", file.read_bytes()) for file in files[number::2]]
                write_tar(shards / f"{number}.tar", [*members, ("README.txt", bytes(30_000) + bytes([run]))])
            for kept in (tmp_path / "cache").rglob("*.shard"):
                os.utime(kept, (10**9, 10**9))
            with run_stack(spec, workers=1) as stack, Trainer(stack.feed()):
                seen = Scrapes(stack)
                seen.wait_for(_KEPT_SHARDS if run else _KEPT_SHARDS.splitlines()[1])
