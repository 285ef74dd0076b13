"""How a running stack stands, asked in every way there is: the same numbers, and nothing that asking changes."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import zmq
from prometheus_client.parser import text_string_to_metric_families as parse
from support.hostile import Attacker, message
from support.streams import DEADLINE_S, make_images, make_spec, run_stack, take, until

import penstock
from penstock.launcher.stack import LocalStack
from penstock.observe.status_client import Onlooker
from penstock.protocol import messages
from penstock.protocol.errors import DeadlineError, RefusedError, StackError
from penstock.protocol.runtime.health import fetch
from penstock.protocol.snapshot import Snapshot
from penstock.trainer.feed.metrics import serve_metrics

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """Return a running stack with one damaged file and two workers, of which a trainer has read 40 batches.

    A process that a busy machine keeps from its turn does not count as lost, one that is killed does.
    """
    photos = make_images(tmp_path_factory.mktemp("photos"), each=60)
    (photos / "cat" / "0003.jpg").write_bytes(b"no image")
    spec = make_spec(photos)
    spec["streams"]["train"]["failure_budget"] = 0.1
    patient = {"silence_s": 600.0}
    with run_stack(spec, 2, ventilator=patient, sink=patient, worker=patient) as stack, stack.feed() as feed:
        take(feed, 40)
        seen(stack, lambda it: it.ledger and len(it.workers) == 2 and it.trainers, "all to reach the ventilator")
        yield stack


def seen(stack: LocalStack, condition: Callable[[Snapshot], object], what: str) -> Snapshot:
    """Return the first snapshot that fulfils a condition; a ventilator that is too busy to answer is asked again."""

    def look() -> Snapshot | None:
        try:
            snapshot = stack.snapshot()
        except StackError:
            return None
        return snapshot if condition(snapshot) else None

    found = until(look, what)
    assert found
    return found


def now(stack: LocalStack) -> Snapshot:
    """Return a snapshot."""
    return seen(stack, lambda _: True, "an answer")


def series(stack: LocalStack, part: str) -> dict[str, float]:
    """Return what a part exposes: name and labels, by the labels' names, to value."""
    families = parse(until(lambda: stack.metrics()[part], f"the metrics of {part}"))
    return {
        f"{sample.name}{{{','.join(sample.labels.values())}}}": sample.value
        for family in families
        for sample in family.samples
    }


def test_the_snapshot_is_the_same_by_every_way(stack: LocalStack) -> None:
    """From Python, as /status and over the ventilator's own socket; who asks is no peer."""
    snapshot = now(stack)
    assert 2 == len(snapshot.workers)
    assert [("train", 0)] == [(trainer.stats.stream, trainer.stats.rank) for trainer in snapshot.trainers]
    assert ("application/json", True) == (
        fetch(stack._started().health("ventilator"), "/status", DEADLINE_S)[0],
        bool(snapshot.sink),
    )
    with Onlooker(stack.addresses.ventilator) as onlooker:
        looked = onlooker.look()
        assert looked.streams[0].fingerprint == snapshot.streams[0].fingerprint
        assert 0.0 <= looked.at - snapshot.at < DEADLINE_S
        assert {worker.name for worker in snapshot.workers} == {worker.name for worker in looked.workers}
    assert 2 == len(now(stack).workers)
    assert {} == now(stack).lost


def test_the_ledger_says_what_failed_and_why(stack: LocalStack) -> None:
    """The same as the file of the ledger, with the kind of failure; as many lines as are asked for."""
    [line] = {(line.path, line.kind) for line in now(stack).ledger}
    assert ("cat/0003.jpg", "decode") == line
    assert "cat/0003.jpg" in stack.quarantine.read_text(encoding="utf-8")
    with Onlooker(stack.addresses.ventilator) as onlooker:
        assert () == onlooker.look(ledger=0).ledger
        # A busy ventilator is asked twice, and its second answer may come to the next question.
        until(lambda: 1 == len(onlooker.look(ledger=1).ledger), "one line")


def test_metrics_say_what_the_snapshot_says(stack: LocalStack) -> None:
    """A trainer that has stopped asking leaves everything as it is, so the numbers settle and can be compared."""

    def settled() -> list[dict[str, float]]:
        sink, ours = series(stack, "sink"), series(stack, "ventilator")
        workers = [series(stack, name) for name in ("worker-0", "worker-1")]
        made = sum(worker["penstock_worker_tasks_total{}"] for worker in workers)
        snapshot = now(stack)
        stream = snapshot.streams[0].sink
        assert stream is not None
        agree = (
            stream.samples == sink["penstock_sink_samples_total{delivered,train}"]
            and stream.held == sink["penstock_sink_held_samples{train}"]
            and 2 == ours["penstock_ventilator_workers{}"]
            and snapshot.streams[0].finished == ours["penstock_ventilator_tasks_finished_total{train}"]
            and 1 == ours[f"penstock_verdict{{{snapshot.verdict.word}}}"]
            and made == sum(row.stats.tasks for row in snapshot.workers)
            and made == sum(worker["penstock_worker_stage_seconds_count{decode}"] for worker in workers)
        )
        return [sink, *workers] if agree else []

    sink, *workers = until(settled, "metrics and snapshot to agree")
    assert 1 <= sum(worker["penstock_worker_items_total{failed}"] for worker in workers)
    assert 1 <= sink["penstock_sink_items_quarantined_total{decode,train}"]


def test_a_killed_worker_goes_and_comes_back(stack: LocalStack) -> None:
    """It is counted as lost, and the new one says how often it was started again."""
    pid = stack.children["worker-1"].process.pid
    os.kill(pid, signal.SIGKILL)
    seen(stack, lambda it: 1 == sum(it.lost.values()), "the worker to be missed")
    seen(stack, lambda it: 2 == len(it.workers), "another in its place")
    snapshot = seen(stack, lambda it: 1 == max(row.stats.restarts for row in it.workers), "it to say so")
    assert str(pid) not in " ".join(row.name for row in snapshot.workers)
    assert 1 == series(stack, "worker-1")["penstock_restarts_total{}"]


def test_who_asks_wrongly_gets_words_or_nothing(stack: LocalStack, tmp_path: Path) -> None:
    """Another release, no service, more of the ledger than there can be: refused, too late, dropped and counted."""
    with Attacker(zmq.DEALER, stack.addresses.ventilator) as attacker:
        attacker.send([message(messages.StatusRequest(version="0.0.1"))])
        assert attacker.socket.poll(60_000)
        assert b"install the same" in b"".join(attacker.socket.recv_multipart())
        greedy = messages.StatusRequest.model_construct(ledger=10**9, version=penstock.__version__)
        attacker.send([message(greedy)])
        seen(stack, lambda it: it.rejected.get("header"), "it to be dropped")
    with Onlooker(f"ipc://{tmp_path}/nobody", timeout_s=0.3) as alone, pytest.raises(DeadlineError, match="no answer"):
        alone.look()
    with Onlooker(stack.addresses.ventilator) as old, pytest.MonkeyPatch.context() as patch:
        patch.setattr("penstock.observe.status_client.__version__", "0.0.1")
        with pytest.raises(RefusedError, match=r"runs Penstock 0\.0\.1"):
            old.look()


def test_a_stack_that_does_not_run_says_so(tmp_path: Path) -> None:
    """Both its snapshot and its metrics, in our own words."""
    idle = run_stack(make_spec(tmp_path), workers=0)
    for ask in (idle.snapshot, idle.metrics):
        with pytest.raises(StackError, match=r"not started.*start it first"):
            ask()


def test_pages_on_tcp_speak_openmetrics_to_who_asks(stack: LocalStack) -> None:
    """A training program exposes its own waiting likewise; what is not there is named."""
    with stack.feed() as feed:
        take(feed, 3)
        health = serve_metrics("127.0.0.1:0", feed)
        try:
            kind, page = get(health.url)
            assert kind.startswith("text/plain; version=0.0.4")
            assert 'penstock_feed_batches_total{rank="0",stream="train"} 3.0' in page
            kind, page = get(health.url, "application/openmetrics-text; version=1.0.0")
            assert kind.startswith("application/openmetrics-text")
            assert page.endswith("# EOF\n")
        finally:
            health.close()


def get(url: str, accept: str = "*/*") -> tuple[str, str]:
    """Return the content type and the text of the metrics next to a /healthz."""
    place = urlsplit(url)
    connection = HTTPConnection(place.netloc, timeout=DEADLINE_S)
    with closing(connection):
        connection.request("GET", "/metrics", headers={"Accept": accept})
        answer = connection.getresponse()
        return answer.headers["Content-Type"], answer.read().decode()
