"""Stores the arrays and data frames of a spec where the services of a local stack can read them.

Arrays are copied once, into sealed anonymous memory (memfd) in the `.npy` format, which every worker maps through
`/proc/PID/fd`: nothing has a name that a crash could leave behind, and the kernel frees the memory with the last
process that has it open. On systems without memfd or `/proc` they become files in the run folder, as frames become CSV
manifests. No data frame library is imported.
"""

import csv
import fcntl
import os
import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from penstock.protocol.errors import SpecError
from penstock.protocol.storage.labels import class_name
from penstock.protocol.storage.rows import to_levels
from penstock.protocol.transport.own_files import make_own_folder, open_own
from penstock.protocol.transport.segments import has_anonymous_files

#: Name of the root below which given arrays and frames lie.
ROOT = "given"
#: Bytes that are copied in one go.
_BLOCK_BYTES = 8_000_000
#: How data frames write a value that is missing.
_MISSING = frozenset({"None", "nan", "NaN", "<NA>", "NaT"})
#: Sealed memory can neither change nor shrink: a worker that maps it always sees the same bytes.
_SEALS = sum(getattr(fcntl, f"F_SEAL_{name}", 0) for name in ("SHRINK", "GROW", "WRITE", "SEAL"))

Array = npt.NDArray[Any]


class Given:
    """The arrays and frames of one spec."""

    def __init__(self) -> None:
        """Start empty."""
        self._arrays: dict[str, Array] = {}
        self._frames: dict[str, tuple[Any, dict[str, Any]]] = {}
        self._descriptors: list[int] = []
        self._files: list[Path] = []
        #: Kinds of source that may be given as objects, and what replaces the objects by names of files.
        self._taken_from: dict[object, Callable[[str, dict[str, Any]], None]] = {
            "arrays": self._take_arrays,
            "manifest": self._take_frame,
        }

    def extract(self, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Keep the objects of a spec's mapping; return it with names of files in their place. Raises SpecError."""
        streams = data.get("streams")
        if not isinstance(streams, Mapping):
            return data
        changed = {name: self._stream(str(name), stream) for name, stream in streams.items()}
        if not self._arrays and not self._frames:
            return data
        changed_data = {**data, "streams": changed}
        if data.get("roots"):  # else other roots may be mapped later, and none is missed now
            changed_data["roots"] = {**data["roots"], ROOT: ROOT}
        return changed_data

    def write(self, folder: Path, roots: Mapping[str, str]) -> dict[str, str]:
        """Write everything below `folder`; `roots` are those of the spec. Return the root to map.

        Raises SpecError, and SourceError for a label.
        """
        if not self._arrays and not self._frames:
            return {}
        self.close()
        make_own_folder(folder)
        for name, array in self._arrays.items():
            place = folder / name
            place.unlink(missing_ok=True)
            if has_anonymous_files():
                descriptor = in_memory(array, name)
                self._descriptors.append(descriptor)
                place.symlink_to(f"/proc/{os.getpid()}/fd/{descriptor}")
            else:
                self._files.append(place)
                with open_own(place, "wb") as file:
                    _write_array(file, array, name)
        for name, (frame, source) in self._frames.items():
            _write_frame(folder / name, frame, source, roots)
        return {ROOT: str(folder)}

    def close(self) -> None:
        """Free the memory, and files that stand for it; processes that map it keep it."""
        while self._descriptors:
            os.close(self._descriptors.pop())
        while self._files:
            self._files.pop().unlink(missing_ok=True)

    def _stream(self, name: str, stream: Any) -> Any:  # noqa: ANN401 - not checked yet
        source = stream.get("source") if isinstance(stream, Mapping) else None
        if not isinstance(source, Mapping):
            return stream
        source = dict(source)
        if take := self._taken_from.get(source.get("kind")):
            take(name, source)
        return {**stream, "source": source}

    def _take_frame(self, name: str, source: dict[str, Any]) -> None:
        if "frame" not in source:
            return
        file = f"{name}.csv"
        self._frames[file] = (source.pop("frame"), dict(source))
        source |= {"path": file, "manifest_root": ROOT}

    def _take_arrays(self, name: str, source: dict[str, Any]) -> None:
        given = [key for key in ("images", "labels") if not isinstance(source.get(key, ""), str | os.PathLike)]
        if not given:
            return
        if isinstance(source.get("labels"), str) and source["labels"] and "images" in given:
            raise SpecError(f"streams.{name}.source: images are given in memory and labels as a file: give both alike")
        if "images" not in given:
            raise SpecError(f"streams.{name}.source: labels are given in memory and images as a file: give both alike")
        for key in given:
            file = f"{name}-{key}.npy"
            self._arrays[file] = np.asarray(source[key])
            source[key] = file
        source |= {"root": ROOT, "allow_outside": True}


def in_memory(array: Array, name: str) -> int:
    """Return the descriptor of sealed anonymous memory that holds an array as a `.npy` file; the caller closes it.

    Raises SpecError as `_write_array`.
    """
    descriptor = os.memfd_create(f"penstock-{name}"[:200], os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            _write_array(file, array, name)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _write_array(file: IO[bytes], array: Array, name: str) -> None:
    """Write an array as a `.npy` file. Images (three axes or more) of another type than uint8 are stored as uint8.

    Raises SpecError if they hold numbers that are not whole or not within 0 to 255, or if the array holds objects.
    """
    images = array.ndim > 2  # noqa: PLR2004 - (N, height, width) and (N, height, width, channels)
    if array.dtype.kind not in "uifb" or not array.ndim:
        raise SpecError(f"{name}: an array of dtype {array.dtype} and shape {array.shape}: give numbers")
    dtype = np.dtype(np.uint8) if images else array.dtype
    header = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": array.shape}
    npy.write_array_header_1_0(file, header)
    file.writelines(block.data for block in _blocks(array, name, images=images))


def _blocks(array: Array, name: str, *, images: bool) -> Iterator[Array]:
    step = max(1, _BLOCK_BYTES // max(1, array.nbytes // max(1, len(array))))
    for start in range(0, len(array), step):
        block = array[start : start + step]
        if images:
            block, wrong = to_levels(block)
            if wrong is not None:
                row = start + int(wrong.argmax())
                raise SpecError(
                    f"{name}[{row}]: {array.dtype} from {array[row].min()} to {array[row].max()}: images must hold "
                    "whole numbers from 0 to 255; give them unscaled, and let transform.normalize scale them"
                )
        yield np.ascontiguousarray(block)


def _write_frame(path: Path, frame: Any, source: Mapping[str, Any], roots: Mapping[str, str]) -> None:  # noqa: ANN401
    columns = [str(source.get(f"{what}_column", what)) for what in ("path", "label")]
    if not hasattr(frame, "columns"):
        raise SpecError(
            f"{path.stem}: frame = {reprlib.repr(frame)}: give a data frame, as pandas and polars have them"
        )
    names = list(frame.columns)
    for column in columns:
        if names.count(column) != 1:
            count = "has no" if column not in names else "has more than one"
            known = ", ".join(map(repr, names[:20]))
            raise SpecError(f"{path.stem}: the frame {count} column {column!r}; its columns: {known}")
    folder = f"{roots.get(str(source.get('root')), '')}/{source.get('images', '')}".rstrip("/") + "/"
    labels = frame[columns[1]]
    if hasattr(labels, "__array__"):
        labels = np.asarray(labels)  # float32 stays what it is
    others = [name for name in _choosing_columns(source) if names.count(name) == 1 and name not in columns]
    with open_own(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns + others)
        for row, (name, label, *values) in enumerate(
            zip(frame[columns[0]], labels, *(frame[each] for each in others), strict=True)
        ):
            if not isinstance(name, str | os.PathLike):
                raise SpecError(f"{path.stem}: row {row} of the frame: {columns[0]} = {name!r}: must be a path")
            writer.writerow(
                [
                    str(name).removeprefix(folder),
                    class_name(label, f"{path.stem}: row {row} of the frame: {columns[1]}"),
                    *("" if str(value) in _MISSING else value for value in values),
                ]
            )


def _choosing_columns(source: Mapping[str, Any]) -> list[str]:
    """Return the columns that `where` and `weight_column` name, as far as a source that was not checked yet does."""
    where = source.get("where") or ()
    named = [each.get("column") for each in where if isinstance(each, Mapping)] if isinstance(where, Iterable) else []
    return list(dict.fromkeys(name for name in (*named, source.get("weight_column")) if isinstance(name, str) and name))
