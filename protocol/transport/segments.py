"""Segments: pieces of memory that processes of one host share, and the arrays over them. Linux only.

This module lays them out, finds, opens and seals them; `shared_memory.py` decides which process may write into one, and
when.

A reader may *hold* a segment, so that its owner does not write into it again while the reader uses the samples where
they lie. A hold is a read lock on the file (of an open file description, fcntl(2)), and the owner begins a generation
under a write lock: the later of the two finds out. The kernel ends the hold of a process that dies.
"""

import fcntl
import mmap
import os
import platform
import secrets
import stat
import sys
import threading
from functools import cache
from pathlib import Path
from typing import Any
from weakref import WeakSet

import numpy as np
import numpy.typing as npt

from penstock.protocol.records import Reference
from penstock.protocol.transport.memory import file_locks

#: Until the interpreter ends and clears this module's names, this one first: what is left then, the kernel closes.
_ALIVE = True
#: The token, then `generation`, `released` and whether the owner heeds holds, as native 64-bit words; samples start at
#: the next cache line.
_TOKEN_BYTES, _WORDS, _DATA = 16, 3, 64
_GENERATION, _RELEASED, _HEEDS = range(_WORDS)
#: Generation of a segment that its owner will not use again.
RETIRED = 2**62
#: Name of the anonymous files, as `/proc/PID/fd` shows it.
_NAME = "penstock"
#: A segment cannot change its size any more: reading one never meets an end that moved (SIGBUS).
#: Systems without seals have no memfd either: `can_share` is false there.
_SEALS = sum(getattr(fcntl, f"F_SEAL_{name}", 0) for name in ("SHRINK", "GROW", "SEAL"))

#: Largest segment that is mapped for a peer (bytes): far more than the results of one task.
MOST_BYTES = 1 << 32

Bytes = npt.NDArray[np.uint8]


def can_share() -> bool:
    """Return whether this process may share memory: on Linux with /proc, on x86-64.

    A reader copies samples and then compares the generation; a consumer reads them and then sets `released`. x86-64
    keeps the order of stores, and that of loads. Other processors, such as ARM, need barriers for that, which Python
    does not have: there, samples travel in messages.
    """
    return has_anonymous_files() and platform.machine().lower() in ("x86_64", "amd64") and file_locks.have_locks()


def has_anonymous_files() -> bool:
    """Return whether this system has files without names that other processes open: memfd, and /proc to find them."""
    return hasattr(os, "memfd_create") and Path("/proc/self/fd").is_dir()


class Segment:
    """One segment, mapped into this process."""

    #: Through which other processes find it; none for a mere reader.
    descriptor: int | None = None
    #: What locks are asked for by; none for a reader that does not hold segments.
    _locks: int | None = None

    def __init__(self, descriptor: int, *, writable: bool, holds: bool = False) -> None:
        """Map an open segment; the descriptor is this object's from now on."""
        protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        status = os.fstat(descriptor)
        self._inode = status.st_ino
        try:
            self._map = mmap.mmap(descriptor, status.st_size, mmap.MAP_SHARED, protection)
        except BaseException:
            os.close(descriptor)
            raise
        if writable or holds:
            self._locks = descriptor
        else:  # a mere reader; no other process maps it through this one
            os.close(descriptor)
        self.descriptor = descriptor if writable else None
        #: How many loans hold it, and whether a forked process may hold it as well.
        self._holders, self._guard, self.forked = 0, threading.RLock(), False
        view = memoryview(self._map)
        self.token = bytes(view[:_TOKEN_BYTES])
        self._words = view[_TOKEN_BYTES : _TOKEN_BYTES + 8 * _WORDS].cast("Q")
        data = np.frombuffer(self._map, np.uint8, offset=_DATA)
        #: What numpy needs to make arrays over the samples' bytes.
        self.interface: dict[str, Any] = data.__array_interface__
        self.address: int = self.interface["data"][0]
        #: Room for samples (bytes).
        self.capacity = len(data)

    def __repr__(self) -> str:
        """Show size and state."""
        return f"<Segment {self.capacity} bytes, generation {self.generation}, released {self.released}>"

    def __del__(self) -> None:
        """Close the descriptor; the mapping goes with the last array over it."""
        if _ALIVE and self._locks is not None:
            os.close(self._locks)

    @classmethod
    def create(cls, capacity: int) -> "Segment":
        """Make a segment of this process's own. Raises OSError."""
        descriptor = os.memfd_create(_NAME, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(descriptor, _DATA + capacity)
            os.pwrite(descriptor, secrets.token_bytes(_TOKEN_BYTES), 0)
            os.pwrite(descriptor, (1).to_bytes(8, sys.byteorder), _TOKEN_BYTES + 8 * _HEEDS)
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
        except BaseException:
            os.close(descriptor)
            raise
        return cls(descriptor, writable=True)

    @classmethod
    def attach(cls, reference: Reference, *, writable: bool, holds: bool = False) -> "Segment":
        """Map another process's segment. Raises OSError if it cannot be had or is not the one that was meant.

        A peer in another container or under another user names something else, or nothing; a hostile one names what it
        likes, and swaps it while we look.
        """
        path = f"/proc/{reference.pid}/fd/{reference.descriptor}"
        found = os.open(path, os.O_PATH | os.O_CLOEXEC)  # opens nothing yet: a pipe would block, a device might act
        try:
            status = os.fstat(found)
            # Its name alone tells little: it is what its owner says, and so is the path of a file elsewhere.
            named = str(Path(f"/proc/self/fd/{found}").readlink()).startswith(f"/memfd:{_NAME}")
            if not named or not stat.S_ISREG(status.st_mode) or status.st_dev != _device():
                raise OSError(f"{path} is no segment")
            if not _DATA < status.st_size <= _DATA + MOST_BYTES:
                raise OSError(f"{path} is no segment of ours: it has {status.st_size} bytes")
            descriptor = os.open(f"/proc/self/fd/{found}", os.O_CLOEXEC | (os.O_RDWR if writable else os.O_RDONLY))
        finally:
            os.close(found)
        if fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & _SEALS != _SEALS:
            os.close(descriptor)
            raise OSError(f"{path} is no segment of ours: it may change its size")
        segment = cls(descriptor, writable=writable, holds=holds)
        if segment.token.hex() != reference.token:
            raise OSError(f"{path} is another segment")
        return segment

    def is_at(self, reference: Reference) -> bool:
        """Return whether the process that it was found through still has it: it may be gone, and its number reused."""
        try:
            return Path(f"/proc/{reference.pid}/fd/{reference.descriptor}").stat().st_ino == self._inode
        except OSError:
            return False

    @property
    def generation(self) -> int:
        """Number of the owner's current use of it."""
        return self._words[_GENERATION]

    @generation.setter
    def generation(self, value: int) -> None:
        self._words[_GENERATION] = value

    def take(self) -> bool:
        """Owner only: begin the next generation; return false if a reader holds this one."""
        if not self._lock(file_locks.WRITE):
            return False
        self.generation += 1
        return self._lock(file_locks.NONE)

    @property
    def idle(self) -> bool:
        """Owner only: whether the consumer is done with it, and no reader holds it."""
        if self.released != self.generation or self.descriptor is None:
            return False
        return file_locks.is_free(self.descriptor)

    def hold(self) -> bool:
        """Reader only: keep the owner from beginning a generation until `let_go`; return false if it would not heed."""
        if not self._words[_HEEDS]:
            return False
        with _FORKING:  # not with the guard: while another thread forks, the collector may let go there
            _HELD.add(self)
        with self._guard:  # the collector may let go meanwhile, on this very thread
            self._holders += 1
            if self._holders > 1 or self._lock(file_locks.READ):
                return True
            self._holders -= 1
        return False

    def let_go(self) -> None:
        """End a hold; what a forked process holds as well stays locked until both have closed it."""
        with self._guard:
            self._holders -= 1
            if not self._holders and not self.forked:
                self._lock(file_locks.NONE)

    def _lock(self, kind: bytes) -> bool:
        return self._locks is not None and file_locks.lock(self._locks, kind)

    @property
    def released(self) -> int:
        """The last generation that the consumer is done with."""
        return self._words[_RELEASED]

    @released.setter
    def released(self, value: int) -> None:
        self._words[_RELEASED] = value

    def reference(self, generation: int) -> Reference:
        """Return how another process finds it, through this one, which must not be a mere reader."""
        assert self.descriptor is not None  # noqa: S101 - readers keep none
        names: dict[str, Any] = {"pid": os.getpid(), "descriptor": self.descriptor, "token": self.token.hex()}
        return Reference.model_construct(**names, generation=generation)


#: Segments that are held, or were; and what guards them, also while this process forks.
_HELD: WeakSet[Segment] = WeakSet()
_FORKING = threading.RLock()


def _note_fork() -> None:
    """End no hold any more: a forked process shares the locks, and uses the samples for as long as it likes."""
    _FORKING.acquire()
    for segment in list(_HELD):
        segment.forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_note_fork, after_in_parent=_FORKING.release, after_in_child=_FORKING.release)


class Loan:
    """A segment in one generation: what the arrays over it hold on to. The consumer's loan releases it in the end."""

    __slots__ = ("__array_interface__", "__weakref__", "_holds", "_pid", "_releases", "generation", "segment")

    def __init__(self, segment: Segment, generation: int, *, releases: bool) -> None:
        """Lend the segment to the arrays that are made of this."""
        self.segment, self.generation, self._releases = segment, generation, releases
        self._pid, self._holds = os.getpid(), False
        self.__array_interface__ = segment.interface

    def __del__(self) -> None:
        """Let the owner write into it again, if it was ours to keep; a forked process's copy was not."""
        if not _ALIVE or self._pid != os.getpid():
            return
        if self._releases:
            self.segment.released = self.generation
        if self._holds:
            self.segment.let_go()

    @property
    def intact(self) -> bool:
        """Whether the owner has not begun to write into it again: what was copied before is what was meant."""
        return self.segment.generation == self.generation

    def hold(self) -> bool:
        """Reader only: hold the segment until the last array over it is gone; return whether that can be.

        If it is `intact` then, it remains so.
        """
        self._holds = self._holds or self.segment.hold()
        return self._holds

    def room(self) -> Bytes:
        """Return the segment's bytes."""
        return np.asarray(self)

    def give_back(self) -> None:
        """Owner only: nothing of it was sent, so no peer will release it."""
        self.segment.released = self.generation


@cache
def _device() -> int:
    """Return the device of the kernel's own memory files, which no path leads to."""
    descriptor = os.memfd_create(_NAME, os.MFD_CLOEXEC)
    try:
        return os.fstat(descriptor).st_dev
    finally:
        os.close(descriptor)


def loan_of(array: npt.NDArray[Any]) -> Loan | None:
    """Return the loan that an array lies in, if it lies in a segment."""
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    return base if isinstance(base, Loan) else None
