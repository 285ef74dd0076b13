"""A trainer's session with its shell and its sink played by hand."""

from collections.abc import Sequence
from typing import Any

from support.plans import make_plan

from penstock.protocol.instructions import Note, Send
from penstock.protocol.messages import (
    Batch,
    EpochEnd,
    Intervals,
    TrainerWelcome,
)
from penstock.trainer.client.session import (
    SINK,
    Deliver,
    Session,
    SessionInstruction,
    SubscriptionConfig,
)

INTERVALS = Intervals(heartbeat_s=1.0, silence_s=5.0)
PLAN = make_plan(items=8, batch_size=4)  # 8 samples an epoch


def plain(instructions: Sequence[SessionInstruction]) -> list[Any]:
    """Return messages and instructions without notes; batches as (sequence, start, stop)."""
    out: list[Any] = []
    for each in instructions:
        match each:
            case Send(peer, message):
                assert peer == SINK
                out.append(message)
            case Deliver(batch):
                out.append((batch.sequence, batch.start, batch.stop))
            case Note():
                pass
            case _:
                out.append(each)
    return out


class CoreHarness:
    """A session and its sink, played by hand."""

    def __init__(self, position: int = 0, ahead: int = 3, fingerprint: str = "", *, welcomed: bool = True) -> None:
        """Subscribe at time 0."""
        self.session = Session(SubscriptionConfig("train", 1, 2, ahead, "1.0"), position, fingerprint, INTERVALS, 0.0)
        [self.subscribe] = plain(self.session.start(0.0))
        if welcomed:
            self.hear(TrainerWelcome(plan=PLAN, position=position, intervals=INTERVALS))

    def hear(self, message: Any, now: float = 0.0) -> list[Any]:
        """Let a message arrive."""
        out = plain(self.session.receive(message, (), now))
        self.session.validate()
        return out

    def batch(self, sequence: int, start: int, stop: int, now: float = 0.0) -> list[Any]:
        """Let a batch arrive."""
        return self.hear(Batch(sequence=sequence, start=start, stops=(stop,), sizes=(stop - start,), frames=()), now)

    def end(self, sequence: int, stop: int) -> list[Any]:
        """Let an epoch's end arrive."""
        return self.hear(end(sequence, stop))


def end(sequence: int, stop: int) -> EpochEnd:
    """Return the report of an epoch of 8 samples."""
    return EpochEnd(
        epoch=stop // 8 - 1, sequence=sequence, stop=stop, expected=8, delivered=8, quarantined=0, dropped=0
    )
