"""A child process of a command that does one heavy task and reports progress as JSON lines: both ends.

TensorFlow runs in such a process, so that the command can be interrupted at any moment. This module holds the pipes and
the deadlines; each command defines its own reports.
"""

import json
import os
import queue
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Self

from penstock.protocol.errors import DeadlineError, PenstockError, StackError

#: Longest silence of the process (s): it covers TensorFlow's import from a cold disk.
_SILENCE_S = 300.0
#: Longest that the process may take to leave (s).
_LEAVE_S = 5.0
#: How often `reports` calls `check` (s).
_LOOK_S = 0.2

Report = Callable[..., None]


class ReportingProcess:
    """The parent's end."""

    def __init__(self, module: str, what: str, log: Path) -> None:
        """Start `python -m module`, which does `what` ("training") once it gets its `order`; stderr goes to `log`."""
        self._what, self.log = what, log
        environment = os.environ | {
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "TF_ENABLE_ONEDNN_OPTS": "0",
            "TMPDIR": str(log.parent),  # for what TensorFlow leaves behind when it is killed
        }
        with log.open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", module],  # -P: nothing of the working folder is imported,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                start_new_session=True,  # Ctrl-C is for this process
            )

    def __enter__(self) -> Self:
        """Return the process."""
        return self

    def __exit__(self, *_: object) -> None:
        """Kill it: it has nothing to save."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                pipe.close()

    def order(self, **what: Any) -> None:  # noqa: ANN401 - whatever JSON can say
        """Send it its order."""
        assert self.process.stdin  # noqa: S101 - a pipe was asked for
        self.process.stdin.write(json.dumps(what).encode() + b"\n")
        self.process.stdin.flush()

    def reports(self, check: Callable[[], object] = lambda: None) -> Iterator[dict[str, Any]]:
        """Yield its reports until it ends; `check` is called repeatedly and may raise.

        Raises StackError if it fails, and DeadlineError if it falls silent.
        """
        assert self.process.stdout  # noqa: S101
        descriptor, output = self.process.stdout.fileno(), select.poll()  # select() refuses descriptors beyond 1,023
        output.register(descriptor, select.POLLIN)
        rest, heard = b"", time.monotonic()
        while True:
            check()
            if not output.poll(_LOOK_S * 1000):
                if time.monotonic() - heard > _SILENCE_S:
                    raise DeadlineError(
                        f"the {self._what} process said nothing for {_SILENCE_S:.0f} s; {self._last_words()}"
                    )
                continue
            heard = time.monotonic()
            data = os.read(descriptor, 65_536)
            if not data:
                break
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                report = json.loads(line)
                if report["event"] == "error":
                    raise StackError(f"{self._what} failed: {report['text']}")
                yield report
        if status := self.process.wait(_LEAVE_S):
            raise StackError(f"the {self._what} process ended with status {status}; {self._last_words()}")

    def _last_words(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return "its last words: " + ("\n".join(lines[-5:]) or "none")


def obey(
    carry_out: Callable[[Mapping[str, Any], Report], None], prepare: Callable[[Report], None] | None = None
) -> None:
    """Run as such a process: prepare, wait for the order, carry it out, exit. Also exits when the parent has ended."""
    report = _reporter(sys.stdout)
    orders: queue.Queue[Mapping[str, Any]] = queue.Queue()
    threading.Thread(target=_listen, args=(_own_input(), orders), daemon=True).start()
    try:
        if prepare:
            prepare(report)
        carry_out(orders.get(), report)
    except Exception as error:  # reported to the parent, then raised
        report("error", text=_readable(error))
        raise
    os._exit(0)  # TensorFlow's teardown may wait for threads that wait for batches


def _own_input() -> IO[str]:
    """Keep standard input for orders: a process that is forked closes `sys.stdin`, and would wait for its reader."""
    own = os.fdopen(os.dup(sys.stdin.fileno()), encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, sys.stdin.fileno())
    os.close(nothing)
    return own


def _reporter(output: IO[str]) -> Report:
    """Keep standard output for reports, and send what else would go there to standard error."""
    own = os.fdopen(os.dup(output.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), output.fileno())

    def report(event: str, **facts: Any) -> None:  # noqa: ANN401 - whatever JSON can say
        own.write(json.dumps({"event": event, **facts}) + "\n")
        own.flush()

    return report


def _listen(source: IO[str], orders: "queue.Queue[Mapping[str, Any]]") -> None:
    for line in source:
        orders.put(json.loads(line))
    os._exit(1)


def _readable(error: Exception) -> str:
    """Return our own text where TensorFlow has wrapped it."""
    text = str(error)
    if isinstance(error, PenstockError) or "penstock.protocol.errors." not in text:
        return text or repr(error)
    return text.rpartition("penstock.protocol.errors.")[2].partition("\n\n")[0]
