"""When the ventilator decides by what many sinks report: together for all of them, unless workers wait for work."""

from collections.abc import Iterable, Sequence

import pytest
from support.plans import PlannedTasks, make_plan

from penstock.protocol.instructions import Instruction, Send
from penstock.protocol.messages import (
    Hello,
    Intervals,
    LeaseKey,
    Made,
    Outcomes,
    Progress,
    SinkHello,
    StreamNeed,
)
from penstock.ventilator.core.leases import Leases
from penstock.ventilator.core.sinks import patience

SINKS = [b"s%02d" % number for number in range(16)]
MADE = (Made(ordinal=0, issuer="v", holder=1),)


def told(instructions: Iterable[Instruction]) -> set[bytes]:
    """Return the sinks that are told outcomes."""
    return {each.peer for each in instructions if isinstance(each, Send) and isinstance(each.message, Outcomes)}


def report(core: Leases, sequence: int, now: float, made: Sequence[Made] = ()) -> list[set[bytes]]:
    """Let each sink report that it knows no outcome; return who is told any after each report."""
    heard = []
    for peer in SINKS:
        need = StreamNeed("train", ((0, 40),), lacks=((0, 1),) if not made else (), made=tuple(made))
        core.receive(peer, Progress(sequence, (need,)), now)
        heard.append(told(core.review(now)))
    return heard


def ready_core(monkeypatch: pytest.MonkeyPatch, slots: int) -> Leases:
    """Return a core at time 10, with sixteen sinks that want forty tasks and a worker of so many slots."""
    monkeypatch.setattr(patience, "_PATIENCE_S", 0.0)
    key = LeaseKey(issuer="v", secret="0" * 32)
    core = Leases(PlannedTasks(make_plan(items=40, task_items=4)), {}, Intervals(silence_s=60.0), "1.0", key)
    core.receive(b"w", Hello(worker="w", incarnation="w", host="h", slots=slots, version="1.0"), 0.0)
    for peer in SINKS:
        name = peer.decode()
        core.receive(peer, SinkHello(incarnation=name, name=name, results=f"results {name}", version="1.0"), 0.0)
    report(core, 1, 9.0)
    core.dispatch(10.0)
    return core


def test_reports_of_many_sinks_wait_for_each_other_while_work_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deciding costs as much for one report as for all; each sink reports again once it is answered."""
    core = ready_core(monkeypatch, slots=9)
    assert not any(report(core, 2, 10.0, MADE))
    assert core.next_dispatch() > 10.0
    assert told(core.review(core.next_dispatch())) == set(SINKS)


def test_reports_are_decided_by_soon_while_workers_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """As soon as half of the sinks have reported: what they report may bring work."""
    core = ready_core(monkeypatch, slots=200)
    assert any(report(core, 2, 10.0, MADE))
