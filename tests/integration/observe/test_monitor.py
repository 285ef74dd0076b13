"""The monitor sees what the machine really does: processors, memory, the network, steps."""

import csv
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import psutil
import pytest
from support.streams import make_images, make_spec, run_stack, until

from penstock.launcher import spare
from penstock.protocol.errors import SpecError
from penstock.protocol.runtime.gpus import Gpus
from penstock.protocol.runtime.usage_monitor import Monitor, _Counters

pytestmark = pytest.mark.integration

#: Runs until it is killed.
BUSY = "while True: pass"


@contextmanager
def program(code: str) -> Generator[subprocess.Popen[bytes]]:
    """Run a Python program while the block lasts."""
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_busy_process_is_seen_with_its_memory() -> None:
    """A child that spins and holds 200 MB shows up as a part of its own, and the machine as busy."""
    with Monitor(0.1) as monitor, program(f"held = b'x' * 200_000_000\n{BUSY}"):
        until(lambda: any(sample.cores.get("other", 0.0) > 0.2 for sample in monitor.samples), "a busy core")
        until(lambda: any(sample.memory_mb.get("other", 0.0) > 200 for sample in monitor.samples), "its memory")
    busy = [sample for sample in monitor.samples if sample.cores.get("other", 0.0) > 0.2]
    assert all(0.0 < sample.cpu_percent <= 100.0 for sample in busy)


def test_another_process_can_be_watched_and_may_end() -> None:
    """`pid` names the root; its end is no error, and leaves nothing to count."""
    with program(BUSY) as process, Monitor(0.05, pid=process.pid) as monitor:
        until(lambda: any(sample.cores.get("trainer", 0.0) > 0.2 for sample in monitor.samples), "a busy core")
        process.kill()
        process.wait()
        until(lambda: {} == monitor.samples[-1].cores, "nothing to count")


def test_a_network_transfer_is_seen() -> None:
    """Bytes over the loopback count there, and nowhere else."""
    chunk, stop = bytes(1_000_000), threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def send() -> None:
            with socket.create_connection(server.getsockname()) as client:
                while not stop.is_set():
                    client.sendall(chunk)

        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        received, _ = server.accept()
        with received, Monitor(0.05) as monitor:
            while not any(sample.loopback_mb_s > 10.0 for sample in monitor.samples):
                assert received.recv(1 << 20)
                assert monitor.now() < 60
            stop.set()
            while received.recv(1 << 20):
                pass
        sender.join(10)
    loudest = max(monitor.samples, key=lambda sample: sample.loopback_mb_s)
    assert max(loudest.sent_mb_s, loudest.received_mb_s) < loudest.loopback_mb_s


def test_a_stack_is_told_apart_by_its_parts(tmp_path: Path) -> None:
    """Ventilator, sink and workers below this process have rows of their own."""
    spec = make_spec(make_images(tmp_path / "photos", each=20))
    with Monitor(0.1) as monitor, run_stack(spec, 2, run_dir=tmp_path / "run") as stack, stack.feed() as feed:
        parts = {"trainer", "ventilator", "sink", "workers"}
        batches = monitor.watch(batch for _ in range(10_000) for batch in feed)
        until(lambda: next(batches) and parts <= set(monitor.samples[-1].cores if monitor.samples else ()), "all parts")
        until(lambda: next(batches) and monitor.samples[-1].cores.get("workers", 0.0) > 0.0, "workers that work")
    row = monitor.rows()[-1]
    assert {f"{part}_{what}" for part in parts for what in ("cores", "memory_mb")} <= set(row)


def test_a_process_belongs_to_the_part_that_it_has_become() -> None:
    """One that was seen before it ran its own program, as any process between fork and exec, is not "other" for good.

    And it keeps its part when it has ended and its parent has not waited for it yet.
    """
    spare.end()  # the process that forks services is of no part
    becomes = f"import os, sys; input(); os.execv(sys.executable, [sys.executable, '-c', {BUSY!r}, 'penstock.worker'])"
    with Monitor(0.05) as monitor, program(becomes) as process:
        until(lambda: "other" in (monitor.samples[-1].cores if monitor.samples else ()), "a process of no known part")
        assert process.stdin
        process.stdin.write(b"\n")
        process.stdin.flush()
        until(lambda: monitor.samples[-1].cores.get("workers", 0.0) > 0.2, "a worker")
        known = len(monitor.samples)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        ended = len(monitor.samples)
        until(lambda: len(monitor.samples) >= ended + 3, "samples after its end")
    assert {"trainer", "workers"} == {part for sample in monitor.samples[known:] for part in sample.cores}


def test_a_process_counts_from_the_sample_after_that_in_which_it_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of its parent seems to have its parent's memory until it runs a program of its own: that is no peak."""
    monkeypatch.setattr("penstock.protocol.runtime.usage_monitor._LOOK_S", 0.0)
    copies = "if not os.fork(): os.read(0, 1); os.execvp('cat', ['cat'])"
    code = f"import os; held = b'x' * 200_000_000; os.read(0, 1)\n{copies}\nos.wait()"
    with program(code) as process:
        assert process.stdin
        counters, parent = _Counters(process.pid), psutil.Process(process.pid)
        os.write(process.stdin.fileno(), b"1")
        until(lambda: [] != parent.children(), "the copy")
        [child] = parent.children()
        assert child.memory_info().rss > 200e6
        assert {"trainer"} == set(counters.read(1.0, ()).memory_mb)
        os.write(process.stdin.fileno(), b"2")
        until(lambda: ["cat"] == child.cmdline(), "a program of its own")
        assert counters.read(2.0, ()).memory_mb["other"] < 100.0


def test_steps_stand_beside_what_the_machine_did(tmp_path: Path) -> None:
    """Each row counts the steps that ended in it; the sum is all of them, and the CSV says the same."""
    with Monitor(0.05) as monitor:
        for _ in monitor.watch(range(10**9)):
            if len(monitor.samples) >= 5:
                break
        ended, known = len(monitor.steps), len(monitor.samples)
        until(lambda: len(monitor.samples) >= known + 2, "a sample that began after the last step")
    rows = monitor.rows()
    assert ended == len(monitor.steps) == sum(row["steps"] for row in rows)
    assert all(min(step.run_s, step.wait_s) >= 0.0 for step in monitor.steps)
    assert sorted(row["time_s"] for row in rows) == [row["time_s"] for row in rows]
    monitor.save(tmp_path / "usage.csv")
    with (tmp_path / "usage.csv").open(encoding="utf-8") as file:
        assert rows == [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def test_samples_are_thinned_out_and_never_more_than_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of days keeps a bounded number of them, taken less often."""
    monkeypatch.setattr("penstock.protocol.runtime.usage_monitor._MOST_SAMPLES", 6)
    with Monitor(0.05) as monitor:
        until(lambda: monitor.interval_s >= 0.2, "two thinnings")
        assert len(monitor.samples) < 6
    times = [sample.time_s for sample in monitor.samples]
    assert sorted(times) == times


def test_an_interval_that_measures_nothing_is_refused() -> None:
    """The kernel counts in hundredths of a second."""
    for bad in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(SpecError, match="interval_s"):
            Monitor(bad)


def test_gpus_are_listed_or_it_is_said_why_not() -> None:
    """One reading a GPU that is there; a reason where none is."""
    gpus = Gpus()
    assert (len(gpus.names), bool(gpus.names)) == (len(gpus.read()), not gpus.why)
    assert all(0.0 <= use.percent <= 100.0 or use.percent != use.percent for use in gpus.read())
    gpus.close()
    assert () == gpus.read()


def test_watching_leaves_the_batches_as_they_are() -> None:
    """Same objects, same order; the last step counts too."""
    with Monitor(0.05) as monitor:
        assert list(range(10)) == list(islice(monitor.watch(range(10)), 20))
    assert 10 == len(monitor.steps)
