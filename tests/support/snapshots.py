"""Snapshots of made-up topologies, for tests of what shows them. Owns no service: a snapshot is a value."""

from collections.abc import Sequence
from typing import Any

from penstock.protocol.snapshot import (
    Flow,
    SinkRow,
    Snapshot,
    StreamRow,
    TrainerRow,
    Verdict,
    WorkerRow,
)
from penstock.protocol.stats import EpochProgress, QuarantinedItem, ReaderStats, StreamStats, WorkerStats


def make_line(
    number: int, path: str = "cat/7.jpg", reason: str = "the file is empty", epoch: int = 0
) -> QuarantinedItem:
    """Return a line of the ledger."""
    return QuarantinedItem(
        number=number, stream="train", epoch=epoch, item=7, path=path, kind="read", reason=reason, worker="box/1"
    )


def _counted(ledger: Sequence[QuarantinedItem]) -> dict[str, Any]:
    """Return what a sink counts of these lines: all of them, and the files in them."""
    if not ledger:
        return {}
    return {"quarantined": {"read": len(ledger)}, "quarantined_items": {"read": len({line.path for line in ledger})}}


def make_snapshot(
    at: float = 1000.0, workers: int = 2, ledger: Sequence[QuarantinedItem] = (), **changes: Any
) -> Snapshot:
    """Return a stack that is bound by its workers, with one trainer in its third epoch."""
    reader = ReaderStats(
        reader="feed",
        stream="train",
        rank=0,
        world_size=1,
        position=2_500,
        epoch=EpochProgress(epoch=2, expected=1_000, delivered=496, quarantined=4),
        in_flight=3,
    )
    known: dict[str, Any] = {
        "version": "0.1.0",
        "at": at,
        "up_s": 60.0,
        "verdict": Verdict(word="worker-bound", sentence="worker-bound: add 2 workers", wait_fraction=0.34, for_s=5.0),
        "flow": Flow(tasks=12.0, made=1_234.0, made_bytes=2e6, batches=38.0, delivered=1_200.0, delivered_bytes=1.9e6),
        "streams": (
            StreamRow(
                name="train",
                items=250,
                samples=1_000,
                classes=2,
                batch_size=32,
                fingerprint="f",
                sink=StreamStats(stream="train", **_counted(ledger)),
            ),
            StreamRow(name="validation", items=50, samples=50, classes=2, batch_size=32, fingerprint="g"),
        ),
        "workers": tuple(
            WorkerRow(
                name=f"box/{number}",
                host="box",
                slots=3,
                leases=2,
                rate=617.0,
                busy=0.93,
                task_s=0.4,
                stats=WorkerStats(stage="make", failures=number),
            )
            for number in range(workers)
        ),
        "sink": SinkRow(results="tcp://127.0.0.1:5556", quarantined=len(ledger)),
        "trainers": (TrainerRow(rate=1_200.0, wait_fraction=0.34, eta_s=42.0, stats=reader),),
        "ledger": tuple(ledger),
    }
    return Snapshot(**(known | changes))
