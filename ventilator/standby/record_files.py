"""Keeps the records of `candidate.py` as files in a folder that all ventilators reach, by what NFS does as well.

A number is claimed by linking a complete file to its name, or without hard links by making a file that must not exist:
of two that try, a file server lets one succeed. A record is renewed in place, by one write of fixed length to a file
that is opened anew, synced and closed: who opens it after that reads it, as file servers promise (close-to-open). No
lock is used, since one may outlive its host, or not be known to others. Old records stay, up to a number, so that one
that was stopped cannot claim a number that is long over.

Whatever else lies in the folder is no record: what is no plain file (reading a pipe would hang), what is too long, and
what is not understood. What cannot be read for another reason raises: it may be the record of one that acts.
"""

import errno
import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

from penstock.protocol.errors import SpecError
from penstock.ventilator.standby.candidate import Claim, Job, Look, Record, Renew, Seen

#: Bytes of a record.
_BYTES = 2048
#: Records, the latest, that are kept; and those of ventilators that wait.
_KEPT, _MOST_WAITING = 100, 64
#: How a file is made that only its owner may use.
_CREATE, _MODE = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600
#: Longest text in a record (characters).
_TEXT = 100
#: What file systems say that have no hard links.
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
#: What file systems say that cannot sync a folder: they keep its names in another way.
_NO_SYNC = (errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
_NUMBERED = re.compile(r"acting-([1-9]\d{0,14})")
#: Highest number; a name with a higher one is none of ours.
_LAST = 10**15 - 1
#: What to do about the highest number: it stays known to a running ventilator, since a list of files may be old.
_REMEDY = "stop all ventilators of this stack, remove acting-{}, and start them again"
#: How a file of others is opened: without waiting for the other end of a pipe, and no link to elsewhere.
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
#: Bounds of what a record says: of the setting, and of a count in messages.
_TAKEOVER_S, _MOST = (1e-3, 3600.0), 2**62


def check_folder(folder: str) -> None:
    """Raise SpecError if there is no such folder: it is not made, since on this host it may just not be mounted."""
    if not Path(folder).is_dir():
        raise SpecError(
            f"--standby {folder!r}: no such folder; make one that every ventilator of this stack reaches, such as "
            "on a shared file system, and that belongs to this stack alone"
        )


class RecordFiles:
    """The records in one folder."""

    def __init__(self, folder: str, holder: str) -> None:
        """Use this folder for the records of `holder`. Raises SpecError if it is none that can be written to."""
        self._folder, self._holder = Path(folder), holder
        self._waiting = self._folder / f"waiting-{holder}"
        #: The highest number that was seen: a list of files may come from a cache.
        self._known = 0
        self._claims = 0
        #: Files that are called as those that wait write them, and could not be understood at the last look.
        self._foreign: frozenset[str] = frozenset()
        check_folder(folder)
        try:
            self._write_own(self._waiting, Record(holder))
        except OSError as error:
            raise SpecError(f"--standby {folder!r}: cannot be written to: {error.strerror or error}") from error

    def do(self, job: Job) -> Seen:
        """Do a job; return what the folder holds then. Raises OSError."""
        match job:
            case Look(waiting):
                self._write_own(self._waiting, waiting)
                return self._look()
            case Claim(number, record):
                foreign, done = self._foreign, self._claim(number, record)
                seen = self._look()
                if done and seen.number == number:
                    self._forget(number, foreign & self._foreign)
                return replace(seen, done=done and seen.number == number)
            case Renew(number, record, over):
                renewed = self._renew(number, record)
                for holder in over:
                    _remove(self._folder / f"waiting-{holder}")
                seen = self._look()
                return replace(seen, done=renewed and seen.number == number)

    def close(self) -> None:
        """Remove what says that this one waits."""
        with suppress(OSError):
            self._waiting.unlink(missing_ok=True)

    def _look(self) -> Seen:
        self._known = max([self._known, *self._numbers()])
        content = _read(self._path(self._known)) if self._known else b""  # nothing: it is not known who acts
        return Seen(self._known, content, _parse(content), self._read_waiting())

    def _numbers(self) -> Iterator[int]:
        for path in self._folder.iterdir():
            if found := _NUMBERED.fullmatch(path.name):
                yield int(found[1])

    def _read_waiting(self) -> tuple[Record, ...]:
        """Return the records of those that wait, up to a number; remember what else has such a name."""
        records: list[Record] = []
        foreign: list[str] = []
        for path in sorted(self._folder.glob("waiting-*")):
            with suppress(OSError):  # it was removed meanwhile
                if (record := _parse(_read(path))) and path.name == f"waiting-{record.holder}":
                    records.append(record)
                    if len(records) == _MOST_WAITING:
                        break
                else:
                    foreign.append(path.name)
        self._foreign = frozenset(foreign)
        return tuple(records)

    def _claim(self, number: int, record: Record) -> bool:
        if number > _LAST:
            raise OSError(errno.EOVERFLOW, f"no higher number can be claimed: {_REMEDY.format(number - 1)}")
        self._claims += 1
        draft = self._folder / f"claim-{self._holder}-{self._claims}"
        try:
            self._write_own(draft, record)
            try:
                self._make(draft, number, record)
            except FileExistsError:
                self._known = max(self._known, number)
                # The answer to a link that was made may have been lost, and the question repeated: then it is ours.
                return draft.stat().st_nlink > 1
            self._sync_folder()
            return True
        finally:
            draft.unlink(missing_ok=True)

    def _make(self, draft: Path, number: int, record: Record) -> None:
        """Make the record of a number. Raises FileExistsError if there is one."""
        try:
            os.link(draft, self._path(number))
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            # Others may read it while it is empty: they then wait as for one that has changed.
            _write(os.open(self._path(number), _CREATE | os.O_EXCL, _MODE), record)

    def _renew(self, number: int, record: Record) -> bool:
        try:
            descriptor = os.open(self._path(number), os.O_WRONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        _write(descriptor, record)
        return True

    def _forget(self, number: int, foreign: frozenset[str]) -> None:
        """Remove records that are long over, what says that this one waits, and claims that killed ventilators left.

        Also `foreign` files that were not understood at two looks; one that waits writes its own again. What cannot be
        removed stays: the number is claimed all the same.
        """
        over = [self._path(old) for old in self._numbers() if old <= number - _KEPT]
        for left in (*over, self._waiting, *self._folder.glob("claim-*"), *map(self._folder.joinpath, foreign)):
            _remove(left)

    def _sync_folder(self) -> None:
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in _NO_SYNC:
                raise
        finally:
            os.close(descriptor)

    def _write_own(self, path: Path, record: Record) -> None:
        _write(os.open(path, _CREATE, _MODE), record)  # in one step: another one may remove it at any moment

    def _path(self, number: int) -> Path:
        return self._folder / f"acting-{number}"


def _remove(path: Path) -> None:
    """Remove a file, if that can be."""
    with suppress(OSError):
        path.unlink()


def _read(path: Path) -> bytes:
    """Return what a file holds; nothing if there is none, or if it cannot be a record. Raises OSError."""
    try:
        descriptor = os.open(path, _READ)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.EISDIR):  # a link, a socket, a folder
            return b""
        raise
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return b""
        content = os.read(descriptor, _BYTES + 1)
    finally:
        os.close(descriptor)
    return content if len(content) <= _BYTES else content[:_BYTES] + b"..."


def _write(descriptor: int, record: Record) -> None:
    """Write a record to a file, durably, and close it."""
    texts = {key: value[:_TEXT] if isinstance(value, str) else value for key, value in asdict(record).items()}
    content = json.dumps(texts).encode().ljust(_BYTES - 1) + b"\n"
    try:
        if os.pwrite(descriptor, content, 0) != len(content):
            raise OSError("a record was written in part only")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)  # raises what a file server reports late


def _parse(content: bytes) -> Record | None:
    """Return the record in a file; None if there is none, or it is just being written."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return None
    names = {name: type(value) for name, value in asdict(Record("")).items()}
    if not isinstance(found, dict) or found.keys() != names.keys():
        return None
    if not all(type(found[name]) is kind for name, kind in names.items()):
        return None
    record = Record(**found)
    least, most = _TAKEOVER_S
    numbers_are_right = 0 <= record.term < _MOST and 0 <= record.beat < _MOST
    return record if least <= record.takeover_s <= most and numbers_are_right else None
