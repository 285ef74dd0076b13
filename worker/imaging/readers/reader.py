"""Where a task's items come from on this host: owns the way from a task to what its items contain.

Refuses to know what is made of it. A content is a file's bytes, or pixels where the source holds arrays; an item that
cannot be had is an ItemError in its place, never an exception.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from penstock.protocol.errors import ItemError, SpecError
from penstock.protocol.messages import Task
from penstock.protocol.order import Int64s
from penstock.protocol.plan import StreamPlan
from penstock.protocol.spec.roots import is_url
from penstock.protocol.spec.source import RowSource
from penstock.worker.imaging.decode import Pixels
from penstock.worker.imaging.readers.files import read_file


@dataclass(frozen=True, slots=True)
class Loaded:
    """A task's items, read: four sequences of one length, in the task's order."""

    #: Index of each item in the whole source.
    items: Int64s
    #: Class index of each item; -1 without one.
    labels: npt.NDArray[np.int32]
    #: Path of each item below its root, for the ledger and for messages.
    paths: Sequence[str]
    #: Bytes of an image file, pixels (height, width, channels), or why there is neither; one array of pixels (items,
    #: height, width, channels) if the source holds arrays and no item failed. Taking one may mean to wait for it.
    contents: Sequence[bytes | Pixels | ItemError] | Pixels

    @property
    def waited_s(self) -> float:
        """Seconds that taking contents has waited so far, where they come while they are taken."""
        return getattr(self.contents, "waited_s", 0.0)


class Origin(Protocol):
    """What a pipeline reads its items from; one object serves one thread at a time."""

    def read(self, task: Task) -> Loaded:
        """Return what the task's items contain."""
        ...


class Files:
    """Image files below a root of this host."""

    def __init__(self, root: Path, *, allow_outside: bool, limit_bytes: int) -> None:
        """Take the folder that is this host's root, and the limits of `read_file`."""
        self._root, self._allow_outside, self._limit_bytes = root, allow_outside, limit_bytes

    def read(self, task: Task) -> Loaded:
        """Return each file's bytes."""
        return Loaded(
            items=np.array([item.item for item in task.items], np.int64),
            labels=np.array([item.label for item in task.items], np.int32),
            paths=[item.path for item in task.items],
            contents=[self._read(item.path) for item in task.items],
        )

    def _read(self, path: str) -> bytes | ItemError:
        try:
            return read_file(self._root, path, self._limit_bytes, allow_outside=self._allow_outside)
        except ItemError as error:
            return error


def open_origin(plan: StreamPlan, roots: Mapping[str, str | Path]) -> Origin:
    """Return where a stream's items come from; `roots` maps the spec's roots to this host's folders or to URLs.

    Raises SpecError if the root has no entry, and SourceError if arrays cannot be opened or a package is missing.
    """
    source, transform = plan.settings.source, plan.settings.transform
    if source.root not in roots:
        known = ", ".join(sorted(roots)) or "none"
        raise SpecError(
            f"stream {plan.name!r} reads root {source.root!r}, which has no folder here (mapped: {known}): "
            f"give --root {source.root}=/path"
        )
    if isinstance(source, RowSource):
        from penstock.worker.imaging.readers.rows import RowOrigin  # noqa: PLC0415 - it knows this module

        return RowOrigin(plan, source, str(roots[source.root]))
    limit_bytes = int(transform.max_file_mb * 1e6)
    if is_url(str(roots[source.root])):
        from penstock.worker.imaging.readers.urls import UrlFiles  # noqa: PLC0415 - it knows this module

        return UrlFiles(str(roots[source.root]), allow_outside=source.allow_outside, limit_bytes=limit_bytes)
    return Files(Path(roots[source.root]), allow_outside=source.allow_outside, limit_bytes=limit_bytes)
