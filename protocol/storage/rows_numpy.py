"""Arrays in `.npy` and `.npz` files, mapped into memory.

Nothing is unpickled. A worker that maps a file shares its pages with all others on the host; a member of an `.npz` that
is compressed cannot be mapped and is held by each worker instead, up to a limit.
"""

import math
import mmap
import os
import zipfile
from io import BufferedReader, BytesIO
from tokenize import TokenError
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from penstock.protocol.errors import SourceError
from penstock.protocol.order import Int64s
from penstock.protocol.storage.array_types import Stored
from penstock.protocol.storage.confined_files import Watch, open_below

#: Largest compressed member (bytes, when unpacked) that each worker holds.
_HELD_BYTES = 256_000_000
#: A local header of a zip archive: its fixed part, and where the lengths of name and extra field stand (PKZIP's note).
_ZIP_HEADER, _ZIP_LENGTHS = 30, 26
#: Bit of a zip member's flags: encrypted.
_ENCRYPTED = 1
#: Errors of numpy for invalid headers; deeply nested ones end its parser.
_BAD_HEADER = (
    ValueError,
    EOFError,
    OSError,
    SyntaxError,
    TokenError,
    TypeError,
    LookupError,
    RecursionError,
    MemoryError,
    OverflowError,
)

Array = npt.NDArray[Any]
_Header = tuple[tuple[int, ...], np.dtype[Any], int]


class Mapped:
    """An array in a part of a file, mapped into memory.

    A file that shrinks while it is mapped would end the process (SIGBUS), so each `take` looks at its size first.
    """

    def __init__(self, descriptor: int, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], offset: int) -> None:
        """Map an open file; the descriptor is this object's from now on. Raises SourceError if it is too short."""
        self._watch = Watch(descriptor, name)
        self.name, self.shape, self.dtype = name, shape, dtype
        count = math.prod(shape)
        if self._watch.size < offset + count * dtype.itemsize:
            raise SourceError(
                f"{name}: truncated: {self._watch.size} bytes, but {dtype}{shape} needs "
                f"{offset + count * dtype.itemsize}: copy or write it again"
            )
        if count:
            pages = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
            self._array: Array = np.frombuffer(pages, dtype, count, offset).reshape(shape)
        else:
            self._array = np.empty(shape, dtype)

    @property
    def working_bytes(self) -> int:
        """No memory: pages are the system's."""
        return 0

    def take(self, rows: Int64s) -> Array:
        """Return these rows. Raises ItemError if the file has been changed since it was opened."""
        self._watch.check()
        taken: Array = self._array[rows]
        return taken

    def run(self, start: int, stop: int) -> Array:
        """Return the rows from `start` up to `stop`: a view."""
        return self._array[start:stop]

    def release(self) -> None:
        """Keep the array: there is no file to open again."""


class Held:
    """An array in this process's own memory."""

    def __init__(self, array: Array, name: str) -> None:
        """Take the array."""
        self._array, self.name, self.shape, self.dtype = array, name, array.shape, array.dtype

    @property
    def working_bytes(self) -> int:
        """Memory that the array takes in each process."""
        return self._array.nbytes

    def take(self, rows: Int64s) -> Array:
        """Return these rows."""
        taken: Array = self._array[rows]
        return taken

    def run(self, start: int, stop: int) -> Array:
        """Return the rows from `start` up to `stop`: a view."""
        return self._array[start:stop]

    def release(self) -> None:
        """Keep the array: there is no file to open again."""


def open_member(root: str, path: str, *, allow_outside: bool) -> Stored:
    """Open `x.npy`, or `set.npz/x`, below a folder. Raises SourceError."""
    file, member = split_member(path)
    descriptor = open_below(root, file, allow_outside=allow_outside)
    try:
        with open(descriptor, "rb", closefd=False) as opened:
            place = _place(opened, path, member)
            if isinstance(place, Held):
                os.close(descriptor)
                return place
            opened.seek(place)
            shape, dtype, start = _header(opened, path)
    except BaseException:
        os.close(descriptor)
        raise
    return Mapped(descriptor, path, shape, dtype, start)


def _place(opened: BufferedReader, path: str, member: str) -> "int | Held":
    packed = opened.read(4) == b"PK\x03\x04"
    opened.seek(0)
    if packed != bool(member):
        hint = "name one of its arrays, as in set.npz/x" if packed else "not an .npz file: it has no members"
        raise SourceError(f"{path}: {hint}")
    return _find(opened, path, member) if packed else 0


def split_member(path: str) -> tuple[str, str]:
    """Return the file and the member (empty: none) that a path like `folder/set.npz/x` names."""
    head, suffix, member = path.partition(".npz/")
    return (head + ".npz", member) if suffix else (path, "")


def _find(opened: BufferedReader, path: str, member: str) -> int | Held:
    """Return where a member of an archive starts in the file, or its array if it is compressed."""
    try:
        with zipfile.ZipFile(opened) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
            if member not in names:
                raise SourceError(f"{path}: no array {member!r} in it; there are: {', '.join(names[:20]) or 'none'}")
            info = archive.infolist()[names.index(member)]
            if info.flag_bits & _ENCRYPTED:
                raise SourceError(f"{path}: encrypted: save it again without a password")
            if info.compress_type != zipfile.ZIP_STORED:
                return _unpack(archive, info, path)
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, ValueError, LookupError, MemoryError) as error:
        raise SourceError(f"{path}: not a readable .npz file: {error}") from error
    try:
        opened.seek(info.header_offset)
        header = opened.read(_ZIP_HEADER)
    except OSError as error:
        raise SourceError(f"{path}: not a readable .npz file: {error}") from error
    lengths = header[_ZIP_LENGTHS : _ZIP_LENGTHS + 2], header[_ZIP_LENGTHS + 2 : _ZIP_HEADER]
    return info.header_offset + _ZIP_HEADER + sum(int.from_bytes(length, "little") for length in lengths)


def _unpack(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: str) -> Held:
    if info.file_size > _HELD_BYTES:
        raise SourceError(
            f"{path}: compressed, and {info.file_size / 1e6:,.0f} MB when unpacked: each worker would hold that, and "
            f"at most {_HELD_BYTES / 1e6:,.0f} MB are taken; save it by numpy.savez or numpy.save, which can be mapped"
        )
    import zlib  # noqa: PLC0415 - an optional part of Python

    try:
        content = archive.read(info)
    except zlib.error as error:
        raise SourceError(f"{path}: not a readable .npz file: {error}") from error
    shape, dtype, start = _header(BytesIO(content), path)
    count = math.prod(shape)
    if len(content) < start + count * dtype.itemsize:
        raise SourceError(f"{path}: truncated: write it again")
    return Held(np.frombuffer(content, dtype, count, start).reshape(shape), path)


def _header(opened: IO[bytes], path: str) -> _Header:
    """Return shape, dtype and where the numbers start of the .npy at the file's place."""
    try:
        version = npy.read_magic(opened)
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
        if read is None:
            raise SourceError(f"{path}: .npy version {version}: save plain numbers by numpy.save")
        shape, fortran, dtype = read(opened)
    except _BAD_HEADER as error:
        raise SourceError(f"{path}: not a readable .npy file: {type(error).__name__}: {error}") from error
    if dtype.hasobject:
        raise SourceError(f"{path}: holds pickled Python objects, which are never loaded: save it with a number dtype")
    if dtype.names is not None or dtype.subdtype is not None or not dtype.itemsize:
        raise SourceError(f"{path}: dtype {dtype}: save plain numbers")
    if any(type(side) is not int or side < 0 for side in shape):
        raise SourceError(f"{path}: shape {shape}: not a readable .npy file")
    if fortran and len(shape) > 1:
        raise SourceError(f"{path}: in Fortran order, its rows are scattered: save numpy.ascontiguousarray of it")
    return shape, dtype, opened.tell()
