"""Metrics: every name that is documented is exposed, in both formats, and by the conventions of Prometheus."""

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open
from prometheus_client.parser import text_string_to_metric_families as parse
from support.drawn import drawn

from penstock.protocol import stats
from penstock.protocol.records import TaskKey, Timings
from penstock.protocol.runtime import metrics
from penstock.protocol.runtime.histogram import BOUNDS_S, Histogram
from penstock.protocol.runtime.metrics import Definition, Metrics, MetricsPage
from penstock.protocol.snapshot import Scaling, Snapshot, StreamRow, TrainerRow, Verdict, WorkerRow
from penstock.protocol.stats import ReaderStats, SinkStats, StreamStats, WorkerStats, WriterStats
from penstock.protocol.transport.rejects import REASONS
from penstock.sink import metrics as sink_metrics
from penstock.trainer.feed import metrics as feed_metrics
from penstock.trainer.feed.stats import FeedStats
from penstock.ventilator.monitoring import metrics as ventilator_metrics
from penstock.worker import metrics as worker_metrics
from penstock.worker.counters import Counters

READER = ReaderStats(
    reader="r", stream="train", rank=0, world_size=1, position=64, epoch=stats.EpochProgress(epoch=0, expected=100)
)
SNAPSHOT = Snapshot(
    version="1",
    at=1e9,
    up_s=60.0,
    verdict=Verdict(word="worker-bound", sentence="worker-bound: …", wait_fraction=0.5, more_workers=3),
    scaling=Scaling(wanted=4),
    streams=(
        StreamRow(name="train", items=100, samples=100, classes=2, batch_size=4, fingerprint="f", wanted=9, ready=2),
    ),
    workers=(WorkerRow(name="h/1", host="h", slots=3, leases=2),),
    trainers=(TrainerRow(wait_fraction=0.5, stats=READER), TrainerRow(wait_fraction=0.25, stats=READER)),
    lost={"worker silent": 2, "worker came back": 1},
    rejected={"kind": 3},
)
SINK = SinkStats(
    results={"accepted": 7, "duplicate": 1},
    streams=(StreamStats(stream="train", quarantined={"decode": 2}),),
    readers=(READER,),
    writers=(WriterStats(stream="train", path="/x.h5"),),
    rejected={"header": 1},
    contradicted={"host/3": 1},
)


def meter() -> Counters:
    """Return the meter of a worker that has finished a task."""
    made = Counters()
    made.add(Timings(read_s=0.002, decode_s=0.3, transform_s=99.0), [np.zeros((6, 5), np.uint8)], items=3, failures=1)
    return made


def feed_stats() -> FeedStats:
    """Return the clock of a program that has taken a batch."""
    clock = FeedStats()
    clock.ask()
    clock.batches, clock.samples, clock.wait_s = 1, 16, 0.5
    return clock


Fill = Callable[[MetricsPage], None]
TOLD = WorkerStats(stage="make", stage_s=2.0, task=TaskKey(stream="train", ordinal=1), rejected={"version": 1})
SERVICES: dict[str, tuple[Iterable[Definition], Fill]] = {
    "ventilator": (ventilator_metrics.METRICS, lambda page: ventilator_metrics.fill(page, SNAPSHOT)),
    "sink": (sink_metrics.METRICS, lambda page: sink_metrics.fill(page, SINK)),
    "worker": (worker_metrics.METRICS, lambda page: worker_metrics.fill(page, meter(), TOLD, held=2)),
    "feed": (feed_metrics.METRICS, lambda page: feed_metrics.fill(page, feed_stats(), 64, "train", 0)),
}


def text(service: str, accept: str = "") -> str:
    """Return what a service answers."""
    return Metrics(*SERVICES[service]).answer(accept)[1].decode()


@pytest.mark.parametrize("service", SERVICES)
def test_all_that_is_defined_is_exposed_in_both_formats(service: str) -> None:
    """Neither a documented name without values nor another type or help than documented."""
    definitions = {definition.name: definition for definition in SERVICES[service][0]}
    opened = parse_open(text(service, "application/openmetrics-text"))  # type: ignore[no-untyped-call]  # the client's
    for families in (parse(text(service)), opened):
        found = {
            family.name + ("_total" if family.type == "counter" else ""): family
            for family in families
            if not family.name.startswith("process_")
        }
        assert definitions.keys() == found.keys()
        for name, family in found.items():
            assert definitions[name].kind == family.type
            assert definitions[name].text == family.documentation
            labels = [{label for label in sample.labels if label != "le"} for sample in family.samples]
            assert all(set(definitions[name].labels) == each for each in labels)


@pytest.mark.parametrize("service", SERVICES)
def test_names_follow_the_conventions(service: str) -> None:
    """Base units, suffixes for them and for counters only, a help text that is no repetition of the name."""
    for definition in SERVICES[service][0]:
        name = definition.name
        assert re.fullmatch(r"penstock_[a-z_]+[a-z]", name)
        assert (definition.kind == "counter") == name.endswith("_total")
        assert not re.search(r"_(ms|milliseconds|minutes|kb|mb|percent|count|sum|bucket|info_total)(_|$)", name)
        assert not set(definition.labels) & {"le", "quantile", "job", "instance"}
        assert definition.text[0].isupper() or definition.text[0].isdigit()
        assert not definition.text.endswith(".")


@pytest.mark.parametrize("service", SERVICES)
def test_promtool_finds_nothing_to_complain_of(service: str) -> None:
    """The checker of Prometheus itself."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("NOT CHECKED BY PROMTOOL: it is not installed (Debian's package prometheus has it)")
    command = [promtool, "check", "metrics"]
    done = subprocess.run(command, input=text(service), capture_output=True, text=True, check=False)
    assert ("", "", 0) == (done.stdout, done.stderr, done.returncode)


def test_one_name_means_the_same_everywhere() -> None:
    """Services that share a name share its definition."""
    known: dict[str, Definition] = {}
    for definitions, _ in SERVICES.values():
        for definition in definitions:
            assert known.setdefault(definition.name, definition) == definition


@settings(max_examples=25)
@given(drawn(Snapshot))
def test_any_snapshot_can_be_exposed(snapshot: Snapshot) -> None:
    """Two jobs that read as the same rank, streams with odd names, sums of any size: no series stands twice."""
    streams = {stream.name: stream for stream in snapshot.streams}  # the core has each once
    page = MetricsPage(ventilator_metrics.METRICS)
    ventilator_metrics.fill(page, snapshot.model_copy(update={"streams": tuple(streams.values())}))
    check_series(page)


@settings(max_examples=25)
@given(drawn(SinkStats))
def test_any_statistics_of_a_sink_can_be_exposed(told: SinkStats) -> None:
    """Likewise."""
    streams = {stream.stream: stream for stream in told.streams}  # the core has each once
    page = MetricsPage(sink_metrics.METRICS)
    sink_metrics.fill(page, told.model_copy(update={"streams": tuple(streams.values())}))
    check_series(page)


def check_series(page: MetricsPage) -> None:
    """Raise AssertionError if a series has two values, or none that is a number."""
    series = [(s.name, tuple(sorted(s.labels.items()))) for family in page.families() for s in family.samples]
    assert len(set(series)) == len(series)


def test_every_reason_to_reject_is_counted_from_the_start(root: Path) -> None:
    """A service that has rejected nothing says so for each reason that its code has, and for no other."""
    folders = [root / name for name in ("protocol", "ventilator", "sink", "worker")]
    raised = {
        str(call.args[0].value)
        for folder in folders
        for file in folder.rglob("*.py")
        for call in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call)
        and getattr(call.func, "id", "") == "RemoteProtocolError"
        and isinstance(call.args[0], ast.Constant)
    }
    assert raised == set(REASONS)
    counts = {
        sample.labels["reason"]: sample.value
        for family in parse(text("sink"))
        for sample in family.samples
        if sample.name == "penstock_rejected_messages_total"
    }
    assert dict.fromkeys(REASONS, 0) | SINK.rejected == counts


def test_a_metric_that_is_not_defined_cannot_be_exposed() -> None:
    """Or with other labels: the table in the documentation would be wrong."""
    page = MetricsPage(metrics.COMMON)
    with pytest.raises(KeyError):
        page.add("penstock_made_up", 1)
    with pytest.raises(AssertionError):
        page.add("penstock_build_info", 1, "only one")


def test_a_histogram_counts_each_duration_in_one_bucket() -> None:
    """A duration on a bound is within it; cumulative, as Prometheus wants it, up to the infinite one."""
    histogram = Histogram()
    for seconds in (0.0, BOUNDS_S[0], BOUNDS_S[0] * 1.01, 59.9, 60.0, 61.0):
        histogram.add(seconds)
    found = histogram.cumulative()
    assert [str(BOUNDS_S[0]), 2.0] == list(found[0])
    assert 3.0 == found[1][1]
    assert [("60.0", 5.0), ("+Inf", 6.0)] == found[-2:]
    assert pytest.approx(180.9, abs=0.01) == histogram.total_s


def test_the_page_of_each_metric_stands_in_the_documentation(root: Path) -> None:
    """In a table of its own, generated; the texts that explain words name only what exists."""
    page = (root / "docs" / "metrics.md").read_text(encoding="utf-8")
    for definitions, _ in SERVICES.values():
        assert all(f"`{definition.name}`" in page for definition in definitions)


def test_services_import_prometheus_at_the_first_request() -> None:
    """A stack's first batch does not wait for that, in none of its processes."""
    program = (
        "import sys, penstock.sink.service, penstock.ventilator.service, penstock.worker.service\n"
        "from penstock.protocol.runtime.metrics import COMMON, Metrics\n"
        "page = Metrics(COMMON, lambda page: page.add('penstock_restarts_total', 3))\n"
        "assert 'prometheus_client' not in sys.modules\n"
        "print(page.answer('')[1].decode())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert "penstock_restarts_total 3.0" in done.stdout
    assert "process_cpu_seconds_total" in done.stdout
