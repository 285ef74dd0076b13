"""Traces of real runs: valid by their format, in causal order, and of one mind with what workers report."""

import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from support.streams import INTERVALS, make_images, make_spec, run_stack, until

from penstock.launcher.stack import LocalStack
from penstock.protocol.messages import Heartbeat, TaskKey, Timings
from penstock.protocol.transport.tracer import Tracer
from penstock.trace.command import Event, main, to_events
from penstock.trace.files import read_folder
from penstock.trace.matching import Way, ways

pytestmark = pytest.mark.integration

#: A delivered task's stages, in order.
STAGES = [
    "ventilator queue",
    "lease sent",
    "worker queue",
    "read",
    "wait for decoder",
    "decode",
    "transform",
    "send",
    "assemble",
    "wait for credit",
    "deliver",
    "wait for trainer",
    "consume",
]
#: Tasks of an epoch: 40 items, 4 a task.
TASKS = 10
#: Nothing is made twice, however long the machine stalls: a process that is slow is not lost, nor is its result.
PATIENT = {"silence_s": 600.0}
ONCE = PATIENT | {"hedge_s": 600.0, "confirm_s": 600.0}


@contextmanager
def traced(folder: Path, every: int = 1) -> Generator[LocalStack]:
    """Run a stack of two workers that records its trace in `folder/trace`."""
    spec = make_spec(make_images(folder / "photos", each=20))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PENSTOCK_TRACE", str(folder / "trace"))
        environment.setenv("PENSTOCK_TRACE_EVERY", str(every))
        run_dir = folder / "run"
        with run_stack(spec, 2, run_dir=run_dir, ventilator=ONCE, sink=PATIENT, worker=PATIENT) as stack:
            yield stack


def drain(stack: LocalStack, epochs: int) -> None:
    """Take whole epochs."""
    with stack.feed() as feed:
        for _ in range(epochs):
            for _ in feed:
                pass


def decoded_s(stack: LocalStack) -> float:
    """Return the seconds that workers have spent on decoding, as the ventilator heard of them; NaN: no answer."""
    streams: dict[str, Any] = stack.status()["ventilator"].get("streams", {})
    return float(streams["train"]["spent"].get("decode_s", 0.0)) if streams else math.nan


def decoded_in(found: list[Way]) -> float:
    """Return the same, as far as a trace shows it."""
    return sum(way.timings.get("decode_s", 0.0) for way in found)


def found_in(folder: Path) -> list[Way]:
    """Return the ways that a trace shows."""
    return ways(read_folder(folder))


def is_shown(folder: Path, ordinals: range) -> bool:
    """Return whether a trace shows the whole way of each of these tasks: processes write some time after it happens."""
    names = {way.task: {span.name for span in way.spans} for way in found_in(folder)}
    known = all(set(STAGES) <= names.get(f"train/{ordinal}", set()) for ordinal in ordinals)
    # Nor may a later one be consumed of which other processes have not written yet: one that is slow to end is killed.
    return known and all(set(STAGES) <= each for each in names.values() if "consume" in each)


def check_order(found: list[Way]) -> list[Way]:
    """Check every way; return those of delivered tasks."""
    assert all(0.0 == way.disorder_s() for way in found)
    delivered = [way for way in found if way.stop is not None and "consume" in {span.name for span in way.spans}]
    assert all(STAGES == [span.name for span in way.spans] for way in delivered)
    for way in delivered:
        seconds = {span.name: span.end - span.begin for span in way.spans}
        assert pytest.approx(way.timings["decode_s"], abs=1e-6) == seconds["decode"]
        assert pytest.approx(way.timings["transform_s"], abs=1e-6) == seconds["transform"]
        assert seconds["read"] >= way.timings["read_s"] - 1e-6  # the decoder waits for a part of it only
    return delivered


@pytest.fixture(scope="module")
def recorded() -> Generator[Path]:
    """Return the trace of a run of three epochs, all of it written."""
    folder = Path(tempfile.mkdtemp(prefix="pk-"))
    with traced(folder) as stack:
        drain(stack, 3)

        def agrees() -> bool:
            """Return whether what the ventilator heard of is what the trace shows: the pipeline idles full by now."""
            if not is_shown(folder / "trace", range(3 * TASKS - 1)):
                return False
            return abs(decoded_s(stack) - decoded_in(found_in(folder / "trace"))) < 1e-6

        until(agrees, "the trace to show all that was decoded")
    yield folder / "trace"
    shutil.rmtree(folder)


def test_a_run_is_traced_from_lease_to_trainer(recorded: Path) -> None:
    """Each task that was consumed has all its stages, once and in causal order, as long as workers say."""
    delivered = check_order(found_in(recorded))
    tasks = [way.task for way in delivered]
    assert {f"train/{ordinal}" for ordinal in range(3 * TASKS - 1)} <= set(tasks)
    assert len(set(tasks)) == len(tasks)


def tracks(events: list[Event]) -> dict[tuple[object, ...], list[tuple[float, float, str]]]:
    """Return the slices (µs) of every row that viewers show; what a pair's events say is checked on the way."""
    slices: dict[tuple[object, ...], list[tuple[float, float, str]]] = {}
    opened: dict[tuple[object, ...], list[Event]] = {}
    for event in sorted((event for event in events if event["ph"] != "M"), key=lambda event: event["ts"]):
        assert math.isfinite(event["ts"])
        assert event["ts"] >= 0.0
        if event["ph"] == "X":
            assert event["dur"] >= 0.0
            key: tuple[object, ...] = (event["pid"], event["tid"])
            slices.setdefault(key, []).append((event["ts"], event["ts"] + event["dur"], event["name"]))
            continue
        key = (event["pid"], event["cat"], event["id2"]["local"])
        if event["ph"] == "b":
            opened.setdefault(key, []).append(event)
        else:
            begun = opened[key].pop()
            assert begun["name"] == event["name"]
            slices.setdefault(key, []).append((begun["ts"], event["ts"], event["name"]))
    assert not any(opened.values())
    return slices


def test_the_file_is_valid_by_its_format(tmp_path: Path, recorded: Path) -> None:
    """`penstock trace` writes the object format as viewers want it.

    Known phases; numbers for processes and threads, each with a name; on every row slices that lie within each other or
    beside each other, and never overlap.
    """
    assert 0 == main([str(recorded), "-o", str(tmp_path / "trace.json")])
    content: dict[str, Any] = json.loads((tmp_path / "trace.json").read_text(encoding="utf-8"))
    events: list[Event] = content["traceEvents"]
    assert {"M", "b", "e", "X"} == {event["ph"] for event in events}
    assert all(isinstance(event["pid"], int) and isinstance(event["tid"], int) and event["name"] for event in events)
    named = Counter((event["name"], event["pid"], event["tid"]) for event in events if event["ph"] == "M")
    assert {1} == set(named.values())
    assert {("process_name", event["pid"], 0) for event in events} <= set(named)
    threads = {("thread_name", event["pid"], event["tid"]) for event in events if event["ph"] == "X"}
    assert threads == {key for key in named if key[0] == "thread_name"}
    assert 5 == len(threads)  # two of each worker, and the trainer's
    found = tracks(events)
    ways_ = [slices for key, slices in found.items() if len(key) == 3]
    assert len(threads) + len(ways_) == len(found)
    for slices in ways_:
        *stages, whole = sorted(slices, key=lambda each: each[1] - each[0])
        assert (min(begin for begin, _, _ in stages), max(end for _, end, _ in stages)) == whole[:2]
        slices.remove(whole)
    for slices in found.values():
        slices.sort()
        assert all(end <= begin + 1.0 for (_, end, _), (begin, _, _) in pairwise(slices))  # µs


def test_rows_of_tasks_stand_in_order(recorded: Path) -> None:
    """Viewers sort them by name, so their numbers have as many digits each; the task's own name follows it."""
    events = to_events(read_folder(recorded), found_in(recorded))["traceEvents"]
    shown = {
        event["name"]: event["args"]["task"] for event in events if "task" in event.get("args", {}) and "id2" in event
    }
    numbers = [int(shown[name].removeprefix("train/")) for name in sorted(shown)]
    assert sorted(numbers) == numbers
    assert {"train/00", "train/05", "train/10"} <= set(shown)


def test_clocks_of_one_host_need_no_correction(recorded: Path) -> None:
    """The file says of every process what was added to its times, and how wrong that may be."""
    content = to_events(read_folder(recorded), found_in(recorded))
    clocks = content["otherData"]["clocks"]
    assert ["ventilator", "worker", "worker", "sink", "trainer"] == [each["process"].split()[0] for each in clocks]
    assert all((0.0, 0.0) == (each["offset_s"], each["error_s"]) for each in clocks)


def test_a_worker_whose_clock_shows_another_time_is_aligned(tmp_path: Path) -> None:
    """In a time namespace 1000 s ahead: pings find its offset to within the stated error, and the order holds."""
    ahead = 1000.0
    command = ["unshare", "--time", "--monotonic", str(int(ahead)), "--fork", "--kill-child"]
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
        pytest.skip("NOT TESTED WITH A SHIFTED CLOCK: no time namespaces here (needs root)")
    with traced(tmp_path) as stack:
        options = [f"--{name.replace('_', '-')}={value}" for name, value in INTERVALS.items()]
        address = stack.addresses.ventilator
        shifted = subprocess.Popen(
            [
                *command,
                sys.executable,
                "-m",
                "penstock.worker",
                "--ventilator",
                address,
                "--log-level",
                "error",
                *options,
            ]
        )
        try:
            stack.scale(0)
            until(lambda: stack.status()["ventilator"].get("workers") == 1, "the shifted worker alone")

            def pinged() -> bool:
                clocks = {each.clock: each.offset for each in read_folder(tmp_path / "trace")}
                return 2 == len(clocks) and all(offset.error_s is not None for offset in clocks.values())

            until(pinged, "round trips to the shifted worker")
            drain(stack, 2)

            def told() -> bool:
                found = found_in(tmp_path / "trace")
                return len(found) >= 2 * TASKS and all(way.timings for way in found)

            until(told, "the worker's own account of all")
        finally:
            shifted.kill()
            shifted.wait()
    processes = read_folder(tmp_path / "trace")
    [offset] = {each.offset for each in processes if each.clock != processes[0].clock}
    assert offset.error_s is not None
    assert 0.0 < offset.error_s < 1.0
    assert abs(offset.seconds + ahead) <= offset.error_s
    delivered = check_order(ways(processes))
    apart = [way for way in delivered if way.spans[3].process.clock != processes[0].clock]
    assert len(apart) >= TASKS
    clocks = to_events(processes, delivered)["otherData"]["clocks"]
    assert offset.seconds in {each["offset_s"] for each in clocks}


@pytest.mark.long
def test_only_every_so_many_th_task_is_recorded(tmp_path: Path) -> None:
    """Sampling is by a task's number, so that all processes choose the same ones."""
    with traced(tmp_path, every=4) as stack:
        drain(stack, 2)
        chosen = range(0, 2 * TASKS - 4, 4)
        until(lambda: is_shown(tmp_path / "trace", chosen), "the trace to show all that was consumed")
    delivered = check_order(found_in(tmp_path / "trace"))
    assert {f"train/{ordinal}" for ordinal in chosen} <= {way.task for way in delivered}
    rows = [row for each in read_folder(tmp_path / "trace") for row in each.rows if "task" in row]
    assert {0} == {int(row["task"].rpartition("/")[2]) % 4 for row in rows}


def test_without_a_folder_nothing_is_recorded(tmp_path: Path) -> None:
    """No tracer in any process, and no ping on any heartbeat."""
    assert "PENSTOCK_TRACE" not in os.environ
    spec = make_spec(make_images(tmp_path / "photos", each=20))
    with run_stack(spec, 1, run_dir=tmp_path / "run") as stack:
        drain(stack, 1)
    assert ["quarantine.jsonl"] == [path.name for path in tmp_path.rglob("*.jsonl")]
    assert Heartbeat().ping is None


def test_a_trace_stops_growing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At its limit a process records no more, and its file says so; one that was killed may end in half a row."""
    monkeypatch.setattr("penstock.protocol.transport.tracer.MOST_ROWS", 10)
    tracer = Tracer(tmp_path, "worker")
    for ordinal in range(100):
        tracer.made(TaskKey(stream="train", ordinal=ordinal), Timings(), 0.0)
    tracer.close()
    with tracer.path.open("a", encoding="utf-8") as file:
        file.write('{"what": "ma')
    [process] = read_folder(tmp_path)
    assert (9, True) == (len(process.rows), process.full)
