"""A stack with keys: each role enters by its own key and no other peer does, while a trainer is served all along.

The services are real processes on loopback; attacks are bounded in number and time.
"""

import contextlib
import json
import os
import random
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import zmq
from support.hostile import Attacker, flood, message
from support.hostile_zmtp import greeting
from support.services.secured import (
    Curve,
    Recorder,
    curve,
    enters,
    hung_up,
    is_silent,
    process,
    rejected,
    served,
    sockets,
    tcp,
)
from support.streams import digest, epochs, held_ports, joined, make_images, make_spec, run_stack, take, told, until

import penstock
from penstock.commands.keys import main as keys_command
from penstock.launcher.stack import Addresses, LocalStack
from penstock.protocol import messages
from penstock.protocol.errors import DeadlineError, SpecError
from penstock.protocol.runtime.health import query
from penstock.protocol.transport.keys import KeyRing, Role, read_key
from penstock.protocol.transport.sockets import new_key_pair

pytestmark = pytest.mark.integration
HELLO = messages.Hello(worker="w", incarnation="i", host="h", slots=3, version=penstock.__version__)
SINK_HELLO = messages.SinkHello(incarnation="i", results="tcp://127.0.0.1:9", version=penstock.__version__)
SUBSCRIBE = messages.Subscribe(stream="train", limit=4, version=penstock.__version__)


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """Return a spec over 2 × 60 JPEG files."""
    return make_spec(make_images(tmp_path_factory.mktemp("photos"), each=60))


@pytest.fixture(scope="module")
def reference(spec: dict[str, object]) -> str:
    """Return the digest of an epoch without keys and without another peer."""
    with run_stack(spec, workers=1) as stack:
        return digest(epochs(stack.feed(), 1))


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the stack's key folder."""
    folder = tmp_path_factory.mktemp("security") / "keys"
    assert 0 == keys_command(["init", str(folder)])
    return folder


@pytest.fixture(scope="module")
def stack(spec: dict[str, object], keys: Path) -> Iterator[LocalStack]:
    """Run a stack with keys over TCP; none of its parts may die."""
    with held_ports(3) as ports:
        addresses = Addresses(*(f"tcp://127.0.0.1:{port}" for port in ports))
        with run_stack(spec, workers=2, addresses=addresses, keys=str(keys)) as running:
            joined(running, 2)
            yield running
            assert 0 == sum(child.restarts for child in running.children.values())


def test_the_same_bytes_with_keys_as_without(stack: LocalStack, reference: str) -> None:
    """Encryption changes nothing of what is trained on; shared memory on one host goes on being used."""
    with served(stack, reference):
        pass
    until(lambda: told(stack, "sink")["ready"], "the sink to be ready")


def test_every_socket_admits_its_roles_and_nobody_else(stack: LocalStack, reference: str, keys: Path) -> None:
    """All of: no key, an unknown key, each role's key, the right key for a false server, on each of three sockets."""
    roles: tuple[Role, ...] = ("ventilator", "sink", "worker", "trainer")
    with served(stack, reference):
        for service, kind, address, wanted in sockets(stack):
            stranger = (*new_key_pair(), KeyRing(keys, "worker").server(service))
            known = curve(keys, "worker", service)
            tries: dict[str, Curve | None] = {"no key": None, "stranger": stranger}
            tries["false server"] = (known[0], known[1], new_key_pair()[0])
            tries |= {role: curve(keys, role, service) for role in roles}
            admitted = {who for who, pair in tries.items() if enters(kind, address, pair)}
            assert wanted == admitted, f"{service} at {address}"
    until(lambda: rejected(stack, "ventilator")["key"] >= 2, "the ventilator to count those that it refused")
    until(lambda: rejected(stack, "sink")["key"] >= 7, "the sink to count those that it refused")


def test_a_role_may_only_say_what_is_its_to_say(stack: LocalStack, reference: str, keys: Path) -> None:
    """One socket serves workers and the sink: a worker cannot pass for the sink, nor the sink for a worker.

    Who may look at another's socket may do nothing else there: trainers at the ventilator's, the ventilator at the
    sink's for trainers.
    """
    with served(stack, reference):
        said: list[tuple[Role, Role, messages.AnyMessage]] = [
            ("worker", "ventilator", SINK_HELLO),
            ("worker", "ventilator", messages.Progress(sequence=2**40, needs=())),
            ("sink", "ventilator", HELLO),
            ("sink", "ventilator", messages.Finished(done=())),
            ("trainer", "ventilator", HELLO),
            ("trainer", "ventilator", SINK_HELLO),
            ("ventilator", "sink", messages.Credit(consumed=0, limit=10)),
        ]
        for role, service, content in said:
            before = rejected(stack, service)["unexpected"]
            address = stack.addresses.ventilator if service == "ventilator" else stack.addresses.trainers
            with Attacker(zmq.DEALER, address, curve(keys, role, service)) as attacker:
                attacker.send([message(content)])
                until(
                    lambda service=service, before=before: rejected(stack, service)["unexpected"] > before,  # type: ignore[misc]
                    f"the {service} to drop {type(content).__name__} of a {role}",
                )
                assert 0 == attacker.socket.poll(0), "it was answered"
        joined(stack, 2)


def test_a_worker_with_a_key_cannot_make_the_sink_open_anything(stack: LocalStack, reference: str, keys: Path) -> None:
    """It names every file that the sink has open, those of others, and 3,000 that are none: none is opened or kept."""
    sink = psutil.Process(stack.children["sink"].process.pid)
    pids = [sink.pid, 1, os.getpid(), stack.children["ventilator"].process.pid, 2**22 - 1]
    named = [
        messages.Reference(pid=pid, descriptor=number, token="0" * 32, generation=1)
        for pid in pids
        for number in range(256)
    ]
    blank = messages.Result(key=messages.TaskKey(stream="train", ordinal=0), plan="p", worker="w", frames=())
    offers = [
        blank.model_copy(update={"offers": tuple(named[start : start + 16])}) for start in range(0, len(named), 16)
    ]
    claims = [blank.model_copy(update={"memory": (each,)}) for each in named]
    pair = curve(keys, "worker", "sink")
    with served(stack, reference):
        before, opened = rejected(stack, "sink")["shared"], sink.num_fds()
        with Attacker(zmq.PUSH, stack.addresses.results, pair) as attacker:
            attacker.send([message(each) for each in (*offers, *claims)])
            until(lambda: rejected(stack, "sink")["shared"] >= before + len(claims), "the sink to refuse all of them")
            assert sink.num_fds() < opened + 40
            too_many = blank.model_copy(update={"offers": tuple(named[:17])})
            malformed = rejected(stack, "sink")["header"]
            attacker.send([message(too_many)])
            until(lambda: rejected(stack, "sink")["header"] > malformed, "the sink to refuse a heap of offers")


def test_a_worker_needs_its_key_and_the_stack_needs_no_other(
    stack: LocalStack, reference: str, keys: Path, tmp_path: Path
) -> None:
    """With an exported folder it joins; once its key is revoked it is lost at once and gets nothing any more.

    Workers without a key, or with another stack's, never get anywhere; what they did costs the others nothing.
    """
    place = ("penstock.worker", "--ventilator", stack.addresses.ventilator)
    assert 0 == keys_command(["init", str(tmp_path / "false")])
    assert 0 == keys_command(["add", "worker-7", "--keys", str(keys)])
    assert 0 == keys_command(["export", "worker-7", str(tmp_path / "other"), "--keys", str(keys)])
    with (
        served(stack, reference),
        process(*place) as (_, plain),
        process(*place, "--keys", str(tmp_path / "false")) as (_, false),
        process(*place, "--keys", str(tmp_path / "other")) as (worker, right),
    ):
        until(lambda: query(right).get("ready"), "the worker with the right key to be welcomed")
        joined(stack, 3)
        for health in (plain, false):
            until(lambda health=health: query(health).get("rejected", {}).get("refused"), "a refused worker to say so")  # type: ignore[misc]
            assert not query(health).get("ready")
        assert 0 == keys_command(["revoke", "worker-7", "--keys", str(keys)])
        joined(stack, 2)
        until(lambda: not query(right).get("ready"), "the revoked worker to hear nothing any more")
        assert worker.poll() is None


def test_a_trainer_elsewhere_needs_its_key_only(
    stack: LocalStack, reference: str, keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By argument or by the environment; without a key, or with a worker's, it says why it waits in vain."""
    folder = str(tmp_path / "mine")
    assert 0 == keys_command(["export", "trainer", folder, "--keys", str(keys)])
    with penstock.connect(stack.address, keys=folder) as feed:
        assert reference == digest(epochs(feed, 1))
    with penstock.connect(stack.address, timeout_s=1.0) as stranger:

        def why() -> str:
            with pytest.raises(DeadlineError) as caught:
                take(stranger, 1)
            return str(caught.value)

        until(lambda: "refused the connection: give keys=" in why(), "the trainer to be refused, and to say so")
    monkeypatch.setenv("PENSTOCK_KEYS", folder)
    with penstock.connect(stack.address) as feed:
        assert 1 == len(take(feed, 1))
    assert 0 == keys_command(["export", "worker", str(tmp_path / "worker"), "--keys", str(keys)])
    with pytest.raises(SpecError, match="one secret key of role 'trainer'"):
        penstock.connect(stack.address, keys=tmp_path / "worker")


def test_a_revoked_trainer_gets_no_further_batch(stack: LocalStack, keys: Path) -> None:
    """It is connected, subscribed and has credit left; its next word is refused, and no word comes to it."""
    assert 0 == keys_command(["add", "trainer-2", "--keys", str(keys)])
    known = read_key(keys / "secret/trainer-2.toml", secret=True)
    pair = (known.public, known.secret, KeyRing(keys, "trainer").server("sink"))
    until(lambda: enters(zmq.DEALER, stack.addresses.trainers, pair), "the sink to know the new key")
    with Attacker(zmq.DEALER, stack.addresses.trainers, pair) as trainer:
        trainer.send([message(SUBSCRIBE)])
        heard: list[list[bytes]] = []
        until(lambda: not is_silent(trainer, heard), "the welcome")
        assert 0 == keys_command(["revoke", "trainer-2", "--keys", str(keys)])
        until(lambda: not enters(zmq.DEALER, stack.addresses.trainers, pair), "the sink to forget the key")
        before = rejected(stack, "sink")["key"]
        trainer.send([message(messages.Credit(consumed=0, limit=100)), message(SUBSCRIBE)])
        until(lambda: rejected(stack, "sink")["key"] >= before + 2, "the sink to drop its messages")
        until(lambda: 0 == told(stack, "sink").get("trainers"), "the sink to lose the trainer")
        until(lambda: is_silent(trainer, heard), "silence: what was said before the revocation may come late")
        kinds = Counter(frames[0].split()[-1] for frames in heard)
        assert {b"TrainerWelcome", b"Batch", b"Heartbeat"} >= set(kinds), "it was told more"
        assert 1 == kinds[b"TrainerWelcome"], "its second subscription was answered"
        assert 4 >= sum(len(json.loads(frames[1])["stops"]) for frames in heard if frames[0].endswith(b" Batch"))


def test_a_captured_session_cannot_be_replayed(stack: LocalStack, reference: str, keys: Path) -> None:
    """All bytes of a worker's session with the ventilator, sent again by another: a dead end, hung up on."""
    recorder = Recorder(tcp(stack.addresses.ventilator))
    with served(stack, reference):
        with Attacker(zmq.DEALER, recorder.address, curve(keys, "worker", "ventilator")) as worker:
            worker.send([message(HELLO)])
            assert worker.socket.poll(60_000), "the recorded session is no good one"
            worker.send([message(messages.Goodbye())])
            joined(stack, 2)
        assert len(recorder.bytes) > 400
        assert b"Hello" not in recorder.bytes, "it can be read"
        for _ in range(3):
            with socket.create_connection(tcp(stack.addresses.ventilator)) as again:
                again.sendall(recorder.bytes)
                assert hung_up(again)
        joined(stack, 2)


def test_crowds_drips_and_garbage_before_the_handshake_are_hung_up_on(stack: LocalStack, reference: str) -> None:
    """On each socket 200 connections, silent or noisy, and 40 that say a good greeting at a byte a moment."""
    rng = random.Random(3)
    crowd: list[socket.socket] = []
    with served(stack, reference):
        for _, _, address, _ in sockets(stack):
            crowd += flood(tcp(address), 200, rng)
        slow = [socket.create_connection(tcp(address)) for _, _, address, _ in sockets(stack) for _ in range(40)]
        hello = greeting(b"CURVE")
        for place in range(30):
            for each in slow:
                with contextlib.suppress(OSError):
                    each.send(hello[place : place + 1])
            time.sleep(0.1)  # a drip's pace is what is tested
        assert all(hung_up(each) for each in [*crowd, *slow])
    for each in [*crowd, *slow]:
        each.close()


@pytest.mark.parametrize("size", [2 << 30, 900_000_000, 1 << 62])
def test_a_giant_announced_before_the_handshake_costs_nothing(stack: LocalStack, reference: str, size: int) -> None:
    """2 GB, or just less than a frame may have, as a handshake's command and as a message; 8 MB of it are sent."""
    with served(stack, reference):
        for _, _, address, _ in sockets(stack):
            for mechanism, flags in ((b"CURVE", 6), (b"NULL", 2)):
                with socket.create_connection(tcp(address)) as each:
                    with contextlib.suppress(OSError):
                        each.sendall(greeting(mechanism) + bytes([flags]) + struct.pack(">Q", size) + bytes(8 << 20))
                    assert hung_up(each)


@pytest.mark.slow
def test_a_million_tiny_messages_change_nothing(stack: LocalStack, reference: str, keys: Path) -> None:
    """A million frames from one who is not let in; a hundred thousand messages of nonsense from one with a key."""
    before = rejected(stack, "sink")
    with served(stack, reference):
        for _, _, address, _ in sockets(stack):
            with socket.create_connection(tcp(address)) as each, contextlib.suppress(OSError):
                each.sendall(greeting(b"CURVE") + b"\x00\x01x" * 1_000_000)
                assert hung_up(each)
        with Attacker(zmq.DEALER, stack.addresses.trainers, curve(keys, "trainer", "sink")) as insider:
            for _ in range(100_000):
                insider.socket.send(b"x")
            until(lambda: 100_000 == (rejected(stack, "sink") - before)["frames"], "the sink to drop them")
