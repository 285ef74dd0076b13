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


def test_silence_does_not_count_while_nothing_can_be_read(harness: CoreHarness) -> None:
    """A message that is too large blocks the socket until it is discarded; its peers are judged from then on."""
    harness.miss((0, 2))
    harness.deal()
    harness.wait(4.0)
    harness.leases.excuse(harness.now)
    harness.wait(4.75)
    assert b"a" in harness.leases.workers
    harness.wait(0.5)
    assert b"a" not in harness.leases.workers


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
