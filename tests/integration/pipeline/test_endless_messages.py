"""Messages that never end, or have far too many frames: their sender is disconnected, memory stays bounded."""

import time
from collections.abc import Iterator

import pytest
import structlog
import zmq
from support.hostile import Attacker, message
from support.hostile_zmtp import never_end
from support.services.peaks import begin_peak, peak_bytes
from support.streams import digest, epochs, make_images, make_spec, run_stack, take, told, until

from penstock.launcher.stack import Addresses
from penstock.protocol import messages, wire
from penstock.protocol.transport.sockets import Hub

pytestmark = pytest.mark.integration

#: What an attacker sends at most: without the limits, all of it would stay in the victim's memory.
MOST_BYTES = 1_000_000_000


def test_the_sender_of_a_message_without_end_is_disconnected(
    tmp_path_factory: pytest.TempPathFactory, free_ports: list[int]
) -> None:
    """Frames without a last one, to every bound socket: far less than a gigabyte is taken, and the epoch is whole."""
    spec = make_spec(make_images(tmp_path_factory.mktemp("photos"), each=20))
    with run_stack(spec, workers=1) as stack:
        reference = digest(epochs(stack.feed(), 1))
    addresses = Addresses(*(f"tcp://127.0.0.1:{port}" for port in free_ports))
    with run_stack(spec, workers=1, addresses=addresses) as stack:
        feed = stack.feed()
        got = take(feed, 2)
        for port, kind, part in zip(
            free_ports, ("DEALER", "PUSH", "DEALER"), ("ventilator", "sink", "sink"), strict=True
        ):
            pid = stack.children[part].process.pid
            before = begin_peak(pid)
            sent = never_end(("127.0.0.1", port), kind, 7_900_000 if part == "ventilator" else 120_000, MOST_BYTES)
            assert sent < MOST_BYTES / 2, (part, kind)
            assert peak_bytes(pid) - before < 300e6, (part, kind)
        until(lambda: told(stack, "ventilator")["rejected"].get("unfinished"), "the ventilator to count it")
        until(lambda: told(stack, "sink")["rejected"].get("unfinished", 0) >= 2, "the sink to count both")
        got += list(feed)
        assert 0 == sum(child.restarts for child in stack.children.values())
    assert reference == digest(got)


@pytest.fixture
def hub() -> Iterator[Hub]:
    """Return a hub, closed afterwards."""
    made = Hub(structlog.get_logger())
    yield made
    made.close()


@pytest.mark.parametrize("scheme", ["ipc", "tcp"])
def test_a_message_of_too_many_frames_holds_no_turn(hub: Hub, scheme: str, tmp_path: object) -> None:
    """200,000 frames: each call returns soon, no more of them are kept than one message has, and others are heard."""
    address = f"ipc://{tmp_path}/v.sock" if scheme == "ipc" else "tcp://127.0.0.1:*"
    endpoint = hub.router(address, {"worker": wire.kinds(messages.Heartbeat)})
    deadline, turns, heard = time.monotonic() + 60, list[float](), list[bytes]()
    with (
        Attacker(zmq.DEALER, endpoint.address) as attacker,
        Attacker(zmq.DEALER, endpoint.address) as honest,
    ):
        attacker.send([[b""] * 200_000])
        while not hub.rejects.counts["frames"]:
            assert time.monotonic() < deadline
            hub.wait(0.1)
            list(endpoint.receive())
        honest.send([message(messages.Heartbeat())])
        while not heard:
            assert time.monotonic() < deadline
            hub.wait(0.1)
            began = time.thread_time()  # not by the clock: a busy machine may keep this thread from its turn
            heard += [peer for peer, _, _ in endpoint.receive()]
            turns.append(time.thread_time() - began)
    assert 1 == hub.rejects.counts["frames"]
    assert max(turns) < 2


def test_complete_messages_that_wait_for_a_busy_service_are_not_taken_for_endless(hub: Hub) -> None:
    """A service that computes reads nothing: what came meanwhile is more than one message may have, but complete."""
    endpoint = hub.router("tcp://127.0.0.1:*", {"sink": wire.kinds(messages.Progress)})
    endpoint.expect(1_000)
    ranges = [[2 * start, 2 * start + 1] for start in range(300_000)]
    header = b'{"sequence":1,"needs":[{"stream":"train","missing":' + str(ranges).replace(" ", "").encode() + b"}]}"
    frames = [message(messages.Progress(sequence=1, needs=()))[0], header]
    got, deadline = 0, time.monotonic() + 120
    with zmq.Context() as context, context.socket(zmq.DEALER) as honest:
        honest.connect(endpoint.address)
        for sent in range(1, 5):
            for tracker in [honest.send_multipart(frames, copy=False, track=True) for _ in range(3)]:
                assert tracker
                tracker.wait(60)
            while hub.wait(0.3) or got < 3 * sent:
                assert time.monotonic() < deadline
                got += len(list(endpoint.receive()))
        honest.close(linger=0)
    assert 0 == hub.rejects.counts.total()


def test_many_valid_messages_share_the_turns(hub: Hub, tmp_path: object) -> None:
    """Headers of the largest size that are parsed: a turn ends after a fraction of a second, not after 256 of them."""
    endpoint = hub.router(f"ipc://{tmp_path}/v.sock", {"sink": wire.kinds(messages.Progress)})
    ranges = [[2 * start, 2 * start + 1] for start in range(300_000)]
    header = b'{"sequence":1,"needs":[{"stream":"train","missing":' + str(ranges).replace(" ", "").encode() + b"}]}"
    assert 4_000_000 < len(header) <= wire.header_limit(messages.Progress)
    frames = [message(messages.Progress(sequence=1, needs=()))[0], header]
    got, turns, deadline = 0, list[float](), time.monotonic() + 120
    with Attacker(zmq.DEALER, endpoint.address) as attacker:
        attacker.send([frames] * 8)
        while got + hub.rejects.counts.total() < 8:
            assert time.monotonic() < deadline
            hub.wait(0.1)
            began = time.monotonic()
            got += len(list(endpoint.receive()))
            turns.append(time.monotonic() - began)
    assert 8 == got
    assert sum(turn > 0.01 for turn in turns) > 2, "they take several turns"
