"""Well-formed messages of every kind, with numbers and addresses at their extremes, against running services."""

import psutil
import pytest
import zmq
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from support.drawn import drawn
from support.hostile import Attacker, message
from support.mutations.attack import cpu_s
from support.mutations.extremes import KINDS, extreme_messages, introduction
from support.mutations.mutate import still_valid
from support.streams import digest, epochs, make_images, make_spec, run_stack, take, told, until

import penstock
from penstock.launcher.stack import LocalStack
from penstock.protocol import messages
from penstock.protocol.records import Record

pytestmark = pytest.mark.integration

_VENTILATOR = (messages.Hello, messages.Finished, messages.Heartbeat, messages.Goodbye, messages.ListPaths)
_TRAINERS = (messages.Subscribe, messages.Credit, messages.Heartbeat, messages.Goodbye, messages.SampleRequest)


def test_a_malformed_address_of_a_sink_is_dropped(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Workers would connect to it; the real sink goes on as before."""
    spec = make_spec(make_images(tmp_path_factory.mktemp("photos"), each=20))
    hello = messages.SinkHello(incarnation="i", results="tcp://[bad:5", version=penstock.__version__)
    with run_stack(spec, workers=1) as stack:
        got = take(feed := stack.feed(), 2)
        with Attacker(zmq.DEALER, stack.addresses.ventilator) as attacker:
            attacker.send(
                [
                    message(hello),
                    message(hello.model_copy(update={"results": "ipc:///a\0b"})),
                    message(hello.model_copy(update={"results": stack.addresses.results, "trainers": "tcp://a:0"})),
                ]
            )
            until(lambda: told(stack, "ventilator")["rejected"].get("address") == 3, "them to be dropped")
            got += list(feed)
        reference = epochs(stack.feed(), 1)
        assert 0 == sum(child.restarts for child in stack.children.values())
    assert digest(reference) == digest(got)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> LocalStack:
    """Return a stack, not yet started."""
    return run_stack(make_spec(make_images(tmp_path_factory.mktemp("photos"), each=20)), workers=1)


def test_extreme_numbers_end_no_service(stack: LocalStack) -> None:
    """Whatever is sent is answered, ignored or counted; nothing restarts, and a trainer gets an epoch afterwards."""
    with stack:
        take(stack.feed(), 1)

        @settings(
            max_examples=60,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
        )
        @given(
            st.lists(st.one_of([drawn(kind) for kind in _VENTILATOR]), min_size=5, max_size=10),
            st.lists(st.one_of([drawn(kind) for kind in _TRAINERS]), min_size=5, max_size=10),
        )
        def attack(to_ventilator: list[messages.AnyMessage], to_trainers: list[messages.AnyMessage]) -> None:
            for address, sent in (
                (stack.addresses.ventilator, to_ventilator),
                (stack.addresses.trainers, to_trainers),
            ):
                with Attacker(zmq.DEALER, address) as attacker:
                    attacker.send([message(_with_version(each)) for each in sent])

        attack()
        assert 1 < len(epochs(stack.feed(), 1))
        assert {} == {name: child.restarts for name, child in stack.children.items() if child.restarts}


@pytest.mark.parametrize("name", KINDS)
def test_every_number_and_text_at_its_extremes_ends_no_service(name: str, stack: LocalStack) -> None:
    """From a peer that is admitted anew before each message: nothing restarts, and a trainer gets the same epoch.

    No fifty of them take a service a second of processor time, so none does.
    """
    kind = zmq.PUSH if name == "sink: results" else zmq.DEALER
    part = name.partition(",")[0].partition(":")[0]
    with stack:
        reference = digest(epochs(stack.feed(), 1))
        addresses = stack.addresses
        address = {"sink: results": addresses.results, "sink: trainers": addresses.trainers}.get(
            name, addresses.ventilator
        )
        process = psutil.Process(stack.children[part].process.pid)
        sent = wrong = welcomes = 0
        longest, used, before = 0.0, cpu_s(process), _rejected(stack, part)
        with Attacker(kind, address) as attacker:
            for frames in extreme_messages(name):
                attacker.send([*introduction(name, addresses), frames])
                sent += 1
                wrong += still_valid(frames, KINDS[name]) is None
                welcomes += _welcomes(attacker)
                if sent % 50 == 0:
                    longest, used = max(longest, cpu_s(process) - used), cpu_s(process)
            until(lambda: _rejected(stack, part) - before >= wrong, "what is no message to be counted")
            admitted = 0 if kind == zmq.PUSH else sent

            def all_were() -> bool:
                nonlocal welcomes
                welcomes += _welcomes(attacker)
                return welcomes >= admitted

            until(all_were, "a welcome for each introduction")
        assert sent > wrong > 50
        assert longest < 1
        assert reference == digest(epochs(stack.feed(), 1))
        assert {} == {name: child.restarts for name, child in stack.children.items() if child.restarts}


def test_tasks_that_no_epoch_will_reach_end_no_worker(stack: LocalStack) -> None:
    """A false sink misses tasks up to the last number that a message may carry: workers make them, or say why not."""
    with stack:
        reference = digest(epochs(stack.feed(), 1))
        for first in (2**31, 2**53, 2**60, 2**61, 2**62 - 3):
            need = messages.StreamNeed(stream="train", missing=((first, first + 2),))
            report = message(messages.Progress(sequence=1, needs=(need,)))
            unwanted = _unwanted(stack)
            with Attacker(zmq.DEALER, stack.addresses.ventilator) as attacker:

                def come(unwanted: int = unwanted, report: list[bytes] = report, attacker: Attacker = attacker) -> bool:
                    attacker.send([*introduction("ventilator, as a sink", stack.addresses), report])
                    return _unwanted(stack) > unwanted

                until(come, "a result of them to reach the sink, which wants none")
        assert reference == digest(epochs(stack.feed(), 1))
        assert {} == {name: child.restarts for name, child in stack.children.items() if child.restarts}


def _welcomes(attacker: Attacker) -> int:
    """Return how many welcomes have come since the last time."""
    if attacker.socket.type == zmq.PUSH:
        return 0
    found = 0
    while attacker.socket.poll(0):
        found += attacker.socket.recv_multipart()[0].endswith(b"Welcome")
    return found


def _rejected(stack: LocalStack, part: str) -> int:
    return sum(told(stack, part)["rejected"].values())


def _unwanted(stack: LocalStack) -> int:
    """Return how many results the sink did not want; wait while it greets the ventilator, where a false one was."""
    results = until(lambda: told(stack, "sink").get("results"), "the sink to be welcome") or {}
    return int(results.get("unwanted", 0))


def _with_version(drawn_message: messages.AnyMessage) -> messages.AnyMessage:
    """Return the message with our version and stream, so that it comes further than the first check."""
    known = {"version": penstock.__version__, "stream": "train"}
    kept = {name: value for name, value in known.items() if hasattr(drawn_message, name)}
    return (
        drawn_message.replaced(**kept) if isinstance(drawn_message, Record) else drawn_message.model_copy(update=kept)
    )
