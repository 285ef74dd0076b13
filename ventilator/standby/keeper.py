"""The thread that keeps this ventilator's record: a folder on a dead file server hangs, and the loop must not."""

import os
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import replace

from penstock.protocol.runtime.service import host_name
from penstock.ventilator.standby.candidate import Candidate, Record, Standing
from penstock.ventilator.standby.record_files import RecordFiles

#: Longest wait (s) for the thread when the process leaves: it may hang in the folder.
_LEAVE_S = 1.0


def clock() -> float:
    """Return seconds of a clock that also runs while the process or the machine is stopped."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Keeper:
    """Keeps a candidate's record, and tells the loop whether this ventilator acts."""

    def __init__(self, folder: str, takeover_s: float, address: str, changed: Callable[[], None]) -> None:
        """Start to wait for the turn of the ventilator at `address`; `changed` is called when something may have.

        It is called by another thread. Raises SpecError if the folder is none that can be written to.
        """
        holder = uuid.uuid4().hex
        self._files = RecordFiles(folder, holder)
        self._folder, self._patience_s = folder, takeover_s
        own = Record(holder, f"{host_name()}/{os.getpid()}", address, takeover_s)
        self._candidate = Candidate(own)
        self._lock, self._changed = threading.Lock(), changed
        #: When the access to the folder began that is under way; what ended the thread.
        self._began: float | None = None
        #: Why the last accesses failed, and how many did: a single one is no trouble, file servers have caches.
        self._trouble, self._failures = "", 0
        self._broken: BaseException | None = None
        self._leaving = threading.Event()
        self._hands_over = False
        self._thread = threading.Thread(target=self._keep, name="penstock standby", daemon=True)
        self._thread.start()

    def may_act(self, term: int) -> bool:
        """Return whether this ventilator acts with this term at this moment: to be asked before each message."""
        return clock() < self._candidate.acts_until and self._candidate.term == term  # in this order: see `took`

    @property
    def term(self) -> int:
        """The term while this one acts; 0 while it waits. An end is noticed here.

        Raises RuntimeError if nothing keeps the record any more: without it, none would ever act.
        """
        if self._broken:
            raise RuntimeError("the thread that keeps the record of this ventilator has ended") from self._broken
        with self._lock:
            return self._candidate.term if self._candidate.holds(clock()) else 0

    @property
    def trouble(self) -> str:
        """Why the folder cannot be used; empty: it can."""
        began = self._began
        if began is not None and (waited_s := clock() - began) > self._patience_s:
            return f"{self._folder!r} has not answered for {waited_s:.0f} s"
        return self._trouble if self._failures > 1 else ""

    def standing(self) -> Standing:
        """Return what the status shows."""
        with self._lock:
            known = self._candidate.standing(clock())
        if not (trouble := self.trouble):
            return known
        return replace(known, holder=known.holder if known.acting else "", why=f"the folder of records: {trouble}")

    def greeted(self, for_s: float) -> None:
        """Tell the others, for `for_s` seconds, that a worker or sink reaches this one, though it waits."""
        self._candidate.greeted_until = clock() + for_s

    @property
    def another_is_reached(self) -> bool:
        """Whether workers or sinks reach one that waits."""
        with self._lock:
            return self._candidate.another_is_reached(clock())

    def hand_over(self) -> None:
        """Let another one act soon, if one that workers or sinks reach waits: none reaches this one."""
        self._hands_over = self.another_is_reached

    def close(self) -> None:
        """Let another one act at once, if this one did. Its own loop has ended."""
        self._leaving.set()
        self._thread.join(_LEAVE_S)

    def _keep(self) -> None:
        try:
            while not self._leaving.is_set():
                self._leaving.wait(max(0.0, self._turn() - clock()))
        except BaseException as error:  # noqa: BLE001 - raised where the loop asks
            self._broken = error
            self._changed()
        else:
            self._release()

    def _turn(self) -> float:
        """Do what is to be done in the folder now; return when to do so again."""
        with self._lock:
            began, before = clock(), self._candidate.term
            handed = self._candidate.hand_over(began) if self._hands_over else None
            self._hands_over = False
            job = handed or self._candidate.job(began, int(time.time()))
        self._began = began
        try:
            seen = self._files.do(job)
        except OSError as error:
            self._trouble, self._failures = _in_words(error, self._folder), self._failures + 1
            with self._lock:
                self._candidate.failed(job, f"the folder of records: {self._trouble}", clock())
        else:
            self._trouble, self._failures = "", 0
            with self._lock:
                self._candidate.took(job, seen, began, clock())
        finally:
            self._began = None
        with self._lock:
            due, after = self._candidate.due, self._candidate.term
        if before != after:
            self._changed()
        return due

    def _release(self) -> None:
        with self._lock:
            job = self._candidate.release()
        try:
            if job:
                self._files.do(job)
        except OSError:
            return  # others notice that it has ended
        finally:
            self._files.close()


def _in_words(error: OSError, folder: str) -> str:
    """Return what went wrong in the folder, and with which file."""
    return f"{str(error.filename or folder)!r}: {error.strerror or error}"
