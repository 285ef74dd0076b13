"""A sink's core that is asked for samples by onlookers, and what they must see."""

from collections.abc import Sequence

import numpy as np
from support.plans import LEASE_KEY, epoch_samples, leased, make_result, make_samples, make_task

from penstock.protocol.instructions import Send
from penstock.protocol.messages import (
    AnyMessage,
    Intervals,
    SampleReply,
    SampleRequest,
    SinkHello,
    SinkWelcome,
    Subscribe,
    TaskKey,
)
from penstock.protocol.plan import StreamPlan
from penstock.protocol.wire import Array
from penstock.sink.core.assembly import VENTILATOR, Assembly
from penstock.sink.core.instructions import SinkInstruction

LOOK = SampleRequest(stream="train", count=7, version="1.0")
Shown = tuple[SampleReply, Sequence[Array]]


def make_core(plan: StreamPlan | None) -> Assembly:
    """Return a sink's core that knows this plan, if any."""
    core = Assembly(SinkHello(incarnation="i", results="r", version="1.0"), Intervals(), 0.0)
    if plan:
        core.receive(VENTILATOR, SinkWelcome(streams=(plan,), intervals=Intervals(), leases=LEASE_KEY), (), 0.0)
    return core


def hear(core: Assembly, peer: bytes, message: AnyMessage, arrays: Sequence[Array] = ()) -> list[SinkInstruction]:
    """Let a message arrive; check the core."""
    out = core.receive(peer, message, arrays, 0.0)
    core.validate()
    return out


def subscribe(core: Assembly, peer: bytes = b"t", limit: int = 100) -> None:
    """Let a trainer subscribe."""
    hear(core, peer, Subscribe(stream="train", limit=limit, version="1.0"))


def result(
    core: Assembly, plan: StreamPlan, ordinal: int, failing: frozenset[int] = frozenset()
) -> list[SinkInstruction]:
    """Let a task's result arrive, by the only worker that there is."""
    task = leased(make_task(plan, TaskKey(stream="train", ordinal=ordinal)), vouched=True)
    return hear(core, b"", *make_result(plan, task, failing))


def shown(instructions: Sequence[SinkInstruction], peer: bytes = b"eye") -> list[Shown]:
    """Return the samples that a peer was shown."""
    sent = [each for each in instructions if isinstance(each, Send) and each.peer == peer]
    return [(each.message, each.arrays) for each in sent if isinstance(each.message, SampleReply)]


def check(plan: StreamPlan, seen: Shown) -> tuple[int, ...]:
    """Check that every field is that of the sample at its position; return the positions."""
    message, arrays = seen
    size = plan.geometry.samples_per_epoch
    samples = [
        epoch_samples(plan.geometry, (0, 1), position // size)[position % size] for position in message.positions
    ]
    expected = make_samples(plan, 0, [sample.item for sample in samples], [sample.patch for sample in samples])
    for field, array, other in zip(message.frames, arrays, expected, strict=True):
        np.testing.assert_array_equal(other, array, field.name)
    return message.positions
