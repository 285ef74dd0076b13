"""Workers that join, fall silent, come back or break the protocol."""

import pytest
from support.cores.leases_harness import SINK, CoreHarness, key

from penstock.protocol.errors import RemoteProtocolError
from penstock.protocol.messages import (
    Drain,
    Finished,
    Goodbye,
    Heartbeat,
    Hello,
    Progress,
    Reset,
    SinkHello,
)


def test_a_silent_worker_is_lost_after_silence_s_and_not_before(harness: CoreHarness) -> None:
    """Heartbeats are all that counts, and their absence is noticed in time."""
    harness.miss((0, 2))
    harness.deal()
    harness.wait(4.75)
    assert b"a" in harness.leases.workers
    harness.wait(0.5)
    assert b"a" not in harness.leases.workers
    assert 1 == len(harness.noted("worker silent"))


def test_nothing_is_held_against_peers_while_their_messages_wait_to_be_read(harness: CoreHarness) -> None:
    """No peer is silent, no result lost and no worker slow then, whatever the clock says; heartbeats go out."""
    harness.miss((0, 3))
    harness.deal()
    harness.finish(b"a", key(0))
    harness.now += 60.0
    sent = harness.take(harness.leases.tick(harness.now, judging=False))
    assert {b"a", SINK} == {send.peer for send in sent if send.message == Heartbeat()}
    worker = harness.leases.workers[b"a"]
    assert ([], False, 0) == (harness.noted("worker silent"), worker.quiet, worker.misses)
    assert harness.leases.sinks.first.peer == SINK
    assert harness.deal() == {b"a": [key(2)]}
    harness.take(harness.leases.tick(harness.now))
    assert b"a" not in harness.leases.workers
    assert harness.leases.sinks.first.peer is None


def test_a_worker_under_a_fresh_identity_replaces_its_old_self_at_once(harness: CoreHarness) -> None:
    """Its leases need not wait until the old identity has been silent for long enough."""
    harness.miss((0, 2))
    harness.deal()
    harness.join(b"a2", incarnation="a")
    assert [b"a2"] == list(harness.leases.workers)
    assert {b"a2": [key(0), key(1)]} == harness.deal()


def test_unknown_peers_are_told_to_start_over(harness: CoreHarness) -> None:
    """A restarted ventilator knows no peer; each one that sends has to say hello again. Leaving needs no answer."""
    assert [Reset()] == harness.hear(b"x", Heartbeat(running=()))
    assert [Reset()] == harness.hear(b"x", Finished(done=()))
    assert [Reset()] == harness.hear(b"x", Progress(sequence=1, needs=()))
    assert [] == harness.hear(b"x", Goodbye())


def test_other_versions_are_refused_in_words(harness: CoreHarness) -> None:
    """Worker and sink learn both versions and what to do."""
    hello = Hello(worker="x", incarnation="x", host="h", slots=1, version="0.9")
    sink = SinkHello(incarnation="x", results="r", version="0.9")
    for message in (*harness.hear(b"x", hello), *harness.hear(b"y", sink)):
        assert isinstance(message, Drain)
        assert "0.9" in message.reason
        assert "1.0: install the same" in message.reason


def test_peers_may_only_send_what_is_theirs(harness: CoreHarness) -> None:
    """A worker that reports progress breaks the protocol; so does a sink that finishes tasks."""
    for peer, message in ((b"a", Progress(sequence=1, needs=())), (SINK, Finished(done=()))):
        with pytest.raises(RemoteProtocolError, match="unexpected"):
            harness.leases.receive(peer, message, 0.0)
