"""Runs of `penstock write` for tests: the command as a user starts it, its processes, and what a file holds.

Knows no part's inside: a file is read by h5py, a process is found by the system's table of processes.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import psutil
from support.streams import until

from penstock.protocol.runtime.health import query
from penstock.protocol.wire import Array


class Run:
    """One `penstock write` in a session of its own."""

    def __init__(self, spec: Path, output: Path, *options: str, run_dir: Path | None = None) -> None:
        """Start it; its logs and sockets are in `run_dir`, or a folder next to the output."""
        self.run_dir = run_dir or output.with_name(f"{output.stem}-run")
        command = [sys.executable, "-m", "penstock", "write", str(spec), "-o", str(output), *options]
        self.process = subprocess.Popen(
            [*command, "--run-dir", str(self.run_dir)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def writer(self) -> dict[str, Any]:
        """Return what the sink says of its writer; nothing if there is no answer."""
        found: dict[str, Any] = query(str(self.run_dir / "sink.health")).get("writer") or {}
        return found

    def standing(self) -> str:
        """Return what there is to know when nothing goes on: every service's health, and the end of its log."""
        lines: list[str] = []
        for log in sorted(self.run_dir.glob("*.log")):
            lines += [f"{log.stem}: {query(str(log.with_suffix('.health')))}", log.read_text()[-1500:]]
        return "\n".join(lines)

    def children(self, service: str = "") -> list[int]:
        """Return the processes that it has started: those of one service, or all."""
        found: list[int] = []
        with suppress(psutil.NoSuchProcess):
            for process in psutil.Process(self.process.pid).children(recursive=True):
                with suppress(psutil.Error):
                    if f"penstock.{service}" in " ".join(process.cmdline()):
                        found.append(process.pid)
        return found

    def kill(self, service: str) -> None:
        """Kill one process of a service; with "everything", all of them and the command itself."""
        pids = [self.process.pid, *self.children()] if service == "everything" else self.children(service)[:1]
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if service == "everything":
            self.process.wait()
            if self.process.stdout:
                self.process.stdout.close()

    def end(self, seconds: float = 120.0) -> tuple[int, str]:
        """Wait until it has ended; return its status and what it said."""
        try:
            said, _ = self.process.communicate(timeout=seconds)
        finally:
            self.kill("everything")
        return self.process.returncode, said


def run_to_end(spec: Path, output: Path, *options: str) -> str:
    """Run the command undisturbed; return what it said."""
    status, said = Run(spec, output, *options).end()
    assert 0 == status, said
    return said


def opened(output: Path) -> Any:
    """Open a file to read; h5py's types say little."""
    return h5py.File(output, "r")


def contents(output: Path) -> dict[str, Array]:
    """Return all data sets of a file by name."""
    found: dict[str, Array] = {}

    def take(name: str, entry: Any) -> None:
        if isinstance(entry, h5py.Dataset):
            found[name] = entry[:]

    with opened(output) as file:
        file.visititems(take)
        found["paths"] = file["paths"][:] if "paths" in file else np.empty(0)
    return found


def attributes(output: Path) -> dict[str, Any]:
    """Return what a file says of itself."""
    with opened(output) as file:
        return dict(file.attrs)


def check_equal(expected: Mapping[str, Array], found: Mapping[str, Array]) -> None:
    """Check that two files hold the same data sets, byte for byte."""
    assert sorted(expected) == sorted(found)
    for name, array in expected.items():
        assert (array.dtype, array.shape) == (found[name].dtype, found[name].shape), name
        np.testing.assert_array_equal(array, found[name], err_msg=name)


def check_beginning(expected: Mapping[str, Array], output: Path) -> int:
    """Check that an unfinished file opens and holds the beginning of `expected`; return how many samples."""
    with opened(output) as file:
        rows = len(file["epoch"])
        for name, array in expected.items():
            if "/" not in name and name != "paths":
                np.testing.assert_array_equal(array[:rows], file[name][:], err_msg=name)
    return rows


def wait_for_samples(run: Run, samples: int, *, lasting: bool = False) -> dict[str, Any]:
    """Wait until that many samples were written; return what the sink said then, or that the command has ended.

    `lasting`: until so many were committed.
    """
    counted = "committed" if lasting else "samples"

    def reached() -> dict[str, Any]:
        writer = run.writer()
        if run.process.poll() is not None:
            return {"state": "ended"}
        return writer if writer.get(counted, 0) >= samples else {}

    try:
        return until(reached, f"{samples} samples to be {'committed' if lasting else 'written'}")
    except AssertionError as error:
        raise AssertionError(f"{error}\n{run.standing()}") from error


def write_spec(path: Path, spec: Mapping[str, Any]) -> Path:
    """Write a spec as JSON; return its path."""
    path.write_text(json.dumps(spec), encoding="utf-8")
    return path
