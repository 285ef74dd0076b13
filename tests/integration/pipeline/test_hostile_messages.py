"""Hostile messages on every socket: dropped with a counted reason, and the stream goes on with the same bytes."""

import random
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zmq
from support.hostile import Attacker, Tap, flood, message, volley
from support.hostile_zmtp import claim_a_frame
from support.plans import LEASE_KEY, make_plan
from support.services.peaks import begin_peak, peak_bytes
from support.streams import DEADLINE_S, Batch, digest, epochs, make_images, make_spec, run_stack, take, told, until

import penstock
from penstock.launcher.stack import Addresses, LocalStack
from penstock.protocol import messages
from penstock.protocol.plan import FieldSchema
from penstock.protocol.runtime.health import query
from penstock.trainer.client.link import Link
from penstock.trainer.client.session import SubscriptionConfig

pytestmark = pytest.mark.integration

KEY = messages.TaskKey(stream="train", ordinal=3)
HELLO = messages.Hello(worker="w", incarnation="i", host="h", slots=3, version=penstock.__version__)
SUBSCRIBE = messages.Subscribe(stream="train", limit=4, version=penstock.__version__)
RESULT = messages.Result(
    key=KEY, plan="p", worker="w", frames=(FieldSchema(name="image", dtype="uint8", shape=(12, 32, 40, 3)),)
)
#: Valid messages that belong on each socket, to be damaged.
TO_VENTILATOR = [message(HELLO), message(messages.Heartbeat(running=(KEY,))), message(messages.Finished(done=()))]
TO_RESULTS = [message(RESULT, bytes(12 * 32 * 40 * 3))]
TO_TRAINERS = [message(SUBSCRIBE), message(messages.Credit(consumed=0, limit=3))]
#: Reasons that a volley is long enough to call forth, whatever the seed.
REASONS = {"frames", "version", "kind", "header", "size"}


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """Return a spec over 2 × 60 JPEG files."""
    return make_spec(make_images(tmp_path_factory.mktemp("photos"), each=60))


@pytest.fixture(scope="module")
def reference(spec: dict[str, object]) -> list[Batch]:
    """Return two undisturbed epochs."""
    with run_stack(spec, workers=1) as stack:
        return epochs(stack.feed(), 2)


def rejected(stack: LocalStack, part: str) -> Counter[str]:
    """Return what a part has dropped, by reason, as /healthz says."""
    return Counter(told(stack, part)["rejected"])


@pytest.mark.parametrize("seed", [1, 2])
def test_every_bound_socket_drops_what_is_wrong(seed: int, spec: dict[str, object], reference: list[Batch]) -> None:
    """Volleys of noise and of damaged messages while an epoch is read; each is counted, none does anything else."""
    rng = random.Random(seed)
    with run_stack(spec, workers=2) as stack:
        feed = stack.feed()
        got = take(feed, 5)
        targets = [
            ("ventilator", zmq.DEALER, stack.addresses.ventilator, TO_VENTILATOR),
            ("sink", zmq.PUSH, stack.addresses.results, TO_RESULTS),
            ("sink", zmq.DEALER, stack.addresses.trainers, TO_TRAINERS),
        ]
        for part, kind, address, valid in targets:
            before = rejected(stack, part)
            attacks = volley(rng, valid)
            with Attacker(kind, address) as attacker:
                attacker.send(attacks)
                got += take(feed, 5)
                until(
                    lambda part=part, before=before, attacks=attacks: (
                        (rejected(stack, part) - before).total()  # type: ignore[misc]
                        >= len(attacks)
                    ),
                    f"{part} to drop {len(attacks)} messages",
                )
            counted = rejected(stack, part) - before
            assert len(attacks) == counted.total()
            assert set(counted) >= REASONS
        got += take(feed, len(reference) - len(got))
        assert 0 == sum(child.restarts for child in stack.children.values())
    assert digest(reference) == digest(got)


def test_well_formed_messages_with_wrong_content_are_dropped(spec: dict[str, object], reference: list[Batch]) -> None:
    """Kinds of other sockets, results of another plan or shape, credit never given, positions beyond reason."""
    with run_stack(spec, workers=2) as stack:
        feed = stack.feed()
        got = take(feed, 3)
        token = feed.plan.token
        task = RESULT.model_copy(update={"key": KEY.replaced(ordinal=12), "plan": token})
        far = RESULT.model_copy(update={"key": KEY.replaced(ordinal=2**61), "plan": token})
        lying = task.model_copy(update={"frames": (RESULT.frames[0].model_copy(update={"shape": (2**40, 2**20)}),)})
        negative = task.model_copy(update={"frames": (RESULT.frames[0].model_copy(update={"shape": (-1, -12)}),)})
        with (
            Attacker(zmq.PUSH, stack.addresses.results) as results,
            Attacker(zmq.DEALER, stack.addresses.trainers) as trainer,
            Attacker(zmq.DEALER, stack.addresses.ventilator) as worker,
        ):
            pixels = bytes(12 * 32 * 40 * 3)
            results.send([message(task, pixels), message(far, pixels), message(HELLO)])
            results.send([message(lying, bytes(100)), message(negative, bytes(12)), message(task, pixels[1:])])
            trainer.send([message(SUBSCRIBE), message(messages.Credit(consumed=10**9, limit=10**9))])
            trainer.send(
                [message(HELLO), message(messages.Batch(sequence=0, start=0, stops=(1,), sizes=(1,), frames=()))]
            )
            trainer.send([message(SUBSCRIBE.model_copy(update={"position": 2**61, "limit": 2**61}))])
            trainer.send([message(SUBSCRIBE.model_copy(update={"stream": "x" * 4096}))])
            worker.send([message(RESULT), message(messages.Progress(sequence=2**61, needs=())), message(SUBSCRIBE)])
            worker.send([message(messages.Goodbye(unstarted=(KEY,))), message(messages.Heartbeat(running=(KEY,)))])
            until(lambda: {"unexpected", "size"} <= set(rejected(stack, "sink")), "the sink to drop them")
            until(lambda: "unexpected" in rejected(stack, "ventilator"), "the ventilator to drop them")
            got += take(feed, 20)
        got += take(feed, len(reference) - len(got))
        least = Counter(size=3, credit=1, unexpected=3)
        until(lambda: least <= rejected(stack, "sink"), f"the sink to count {least}")
        assert 0 == sum(child.restarts for child in stack.children.values())
    assert digest(reference) == digest(got)


def test_recorded_messages_that_come_again_change_nothing(
    spec: dict[str, object], reference: list[Batch], free_ports: list[int], tmp_path: Path
) -> None:
    """All three links are tapped: a third of the messages is followed by an older one; later strangers repeat all."""
    real = Addresses.in_folder(tmp_path)
    to_ventilator, to_results, to_trainers = (f"tcp://127.0.0.1:{port}" for port in free_ports)
    taps = [
        Tap(zmq.ROUTER, zmq.DEALER, to_ventilator, real.ventilator),
        Tap(zmq.PULL, zmq.PUSH, to_results, real.results),
        Tap(zmq.ROUTER, zmq.DEALER, to_trainers, real.trainers),
    ]
    tapped: dict[str, Any] = {"sink": {"ventilator": to_ventilator, "advertise": to_results}}
    tapped["worker"] = {"ventilator": to_ventilator}
    with taps[0], taps[1], taps[2], run_stack(spec, workers=2, addresses=real, **tapped):
        for tap in taps:
            tap.replay = 0.3
        with penstock.connect(to_trainers, timeout_s=60) as feed:
            got = epochs(feed, 1)
        for tap in taps:
            assert len(tap.forward) > 10
            tap.replay = 0.0
        rng = random.Random(5)
        with penstock.connect(to_trainers, timeout_s=60) as feed:
            feed.seek(360)
            for tap, kind, address in zip(
                taps,
                (zmq.DEALER, zmq.PUSH, zmq.DEALER),
                (real.ventilator, real.results, real.trainers),
                strict=True,
            ):
                with Attacker(kind, address) as stranger:
                    stranger.send(rng.sample(tap.forward, min(40, len(tap.forward))))
                    stranger.send(rng.sample(tap.backward, min(10, len(tap.backward))))
                    got += take(feed, 3)
            got += take(feed, len(reference) - len(got))
    assert digest(reference) == digest(got)


def test_floods_of_connections_and_giant_claims_stay_bounded(
    spec: dict[str, object], reference: list[Batch], free_ports: list[int]
) -> None:
    """600 connections, 200 MB of unwanted results and frames that claim a terabyte: memory hardly moves."""
    addresses = Addresses(*(f"tcp://127.0.0.1:{port}" for port in free_ports))
    rng = random.Random(9)
    with run_stack(spec, workers=2, addresses=addresses) as stack:
        feed = stack.feed()
        got = take(feed, 5)
        pids = {part: stack.children[part].process.pid for part in ("ventilator", "sink")}
        before = {part: begin_peak(pid) / 1e6 for part, pid in pids.items()}
        opened: list[socket.socket] = []
        for port, kind in zip(free_ports, ("DEALER", "PUSH", "DEALER"), strict=True):
            opened += flood(("127.0.0.1", port), 200, rng)
            opened.append(claim_a_frame(("127.0.0.1", port), kind, 1 << 40))
            hung_up = opened[-1]
            until(lambda hung_up=hung_up: _closed(hung_up), "the giant frame's sender to be disconnected")  # type: ignore[misc]
        got += take(feed, 5)
        with Attacker(zmq.PUSH, stack.addresses.results) as attacker:
            unwanted = RESULT.model_copy(update={"key": messages.TaskKey(stream="train", ordinal=10**6)})
            # A sink that gets no processor for a moment may hold 64 of a peer's messages, and its C library keeps that.
            attacker.send([message(unwanted, bytes(46_080))] * 2000 + [message(RESULT, bytes(250_000))] * 400)
            got += take(feed, len(reference) - len(got))
            until(lambda: rejected(stack, "sink")["lease"] >= 2000, "the sink to drop them")
        after = {part: peak_bytes(pid) / 1e6 for part, pid in pids.items()}
        for each in opened:
            each.close()
    assert digest(reference) == digest(got)
    assert all(after[part] - before[part] < 60 for part in before), (before, after)


def _closed(connection: socket.socket) -> bool:
    connection.settimeout(0.05)
    try:
        return connection.recv(4096) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


@pytest.mark.parametrize("service", ["worker", "sink"])
def test_a_false_ventilator_is_not_obeyed(service: str, tmp_path: Path) -> None:
    """What it sends is dropped and counted; the service stays, and keeps asking for a real one."""
    address, health = f"ipc://{tmp_path}/v.sock", str(tmp_path / "health")
    flags = ["--results", f"ipc://{tmp_path}/r.sock", "--bind", f"ipc://{tmp_path}/t.sock"] if service == "sink" else []
    flags += ["--heartbeat-s=0.2", f"--silence-s={DEADLINE_S}"]  # or it hangs up on who takes long to begin
    welcome = messages.SinkWelcome(streams=(), intervals=messages.Intervals(), leases=LEASE_KEY)
    attacks = volley(random.Random(7), [message(messages.Heartbeat()), message(welcome), message(messages.Reset())])
    process = subprocess.Popen(
        [sys.executable, "-m", f"penstock.{service}", "--ventilator", address, "--health", health, *flags]
    )
    try:
        counted = _betray(address, attacks, lambda: Counter(query(health).get("rejected", {})))
        assert set(counted) >= REASONS
        assert process.poll() is None
        process.terminate()
        assert 0 == process.wait(DEADLINE_S)
    finally:
        process.kill()
        process.wait()


def test_a_false_sink_is_not_believed(tmp_path: Path) -> None:
    """A trainer drops what is wrong, batches that are not of the welcome's schema too, and does not fall over."""
    address = f"ipc://{tmp_path}/t.sock"
    plan = make_plan()
    welcome = messages.TrainerWelcome(plan=plan, position=0, intervals=messages.Intervals())
    batch = messages.Batch(sequence=0, start=0, stops=(1,), sizes=(1,), frames=RESULT.frames)
    uneven = batch.model_copy(update={"frames": plan.schema})  # one-dimensional fields of no length at all
    attacks = volley(random.Random(8), [message(batch, bytes(46_080)), message(messages.Heartbeat())])
    payload = [bytes(field.sample_bytes) for field in plan.schema]
    link = Link(address, SubscriptionConfig("train", 0, 1, 5, penstock.__version__), 0, "")
    try:
        counts = link._hub.rejects.counts
        wrong = [
            message(batch, bytes(46_080)),
            message(uneven, *payload),
            message(batch.model_copy(update={"frames": ()})),
        ]
        assert {*REASONS, "batch"} == set(
            _betray(address, [*attacks, message(welcome), *wrong], lambda: counts, good=1)
        )
        assert 3 == counts["batch"]
        assert link.take(0.1) is None
    finally:
        link.close()


def _betray(
    address: str, attacks: list[list[bytes]], counted: Callable[[], Counter[str]], good: int = 0
) -> Counter[str]:
    """Bind where a peer connects to, answer its first message with attacks, `good` of them none; return the counts."""
    context = zmq.Context()
    try:
        router = context.socket(zmq.ROUTER)
        router.bind(address)
        assert router.poll(60_000), "no peer connected"
        peer = router.recv_multipart()[0]
        for frames in attacks:
            router.send_multipart([peer, *frames])
        until(lambda: counted().total() >= len(attacks) - good, "the attacks to be counted")
        return counted()
    finally:
        context.destroy(linger=0)
