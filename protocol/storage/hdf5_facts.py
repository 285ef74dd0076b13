"""The attributes of an HDF5 file that Penstock wrote: their names, and their meaning for readers.

Files of other programs lack them and can be read as well.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import ValidationError

from penstock.protocol.errors import SourceError
from penstock.protocol.plan import StreamPlan
from penstock.protocol.storage.hdf5_open import h5py

#: The layout that this version reads.
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Facts:
    """The attributes of a file; defaults for those that are missing."""

    #: Version of the layout that it was written in; None: another program wrote it.
    format: int | None = None
    #: Penstock's version that wrote it.
    version: str = ""
    #: The stream that it holds.
    stream: str = ""
    #: The stream's plan (its part of the spec, and what its source had), as JSON and where this version knows it.
    spec: str = ""
    plan: StreamPlan | None = None
    seed: int | None = None
    fingerprint: str = ""
    classes: tuple[str, ...] = ()
    #: Whether all of it is written.
    complete: bool = True
    #: Number of epochs when it is complete, and the stream's positions [start, stop).
    epochs: int | None = None
    start: int | None = None
    stop: int | None = None


def read_facts(file: h5py.File, name: str) -> Facts:
    """Return the attributes of a file. Raises SourceError for attributes of another type than expected."""
    said = {key: _plain(value) for key, value in file.attrs.items()}
    written = said.get("penstock_format")
    if written is not None and written != FORMAT:
        raise SourceError(
            f"{name}: written in format {written!r} by Penstock {said.get('penstock_version', '?')}; this version "
            f"reads format {FORMAT}: use the one that wrote it"
        )
    classes = said.get("classes", [])
    if isinstance(classes, str):
        classes = [classes]
    if not isinstance(classes, list) or not all(isinstance(each, str) for each in classes):
        if written is not None:
            raise SourceError(f"{name}: attribute classes = {classes!r}: must be names; write the file again")
        classes = []
    spec = said.get("spec")
    spec = spec if isinstance(spec, str) else ""
    return Facts(
        format=written,
        version=str(said.get("penstock_version", "")),
        stream=str(said.get("stream", "")),
        spec=spec,
        plan=_plan(spec),
        seed=_whole(said, "seed", name),
        fingerprint=str(said.get("fingerprint", "")),
        classes=tuple(classes),
        complete=bool(said.get("complete", True)),
        epochs=_whole(said, "epochs", name),
        start=_whole(said, "start", name),
        stop=_whole(said, "stop", name),
    )


def _plain(value: Any) -> Any:  # noqa: ANN401 - an attribute may be anything
    """Return an attribute as Python's own: text, numbers, or lists of them."""
    if isinstance(value, h5py.Empty):
        return []
    plain = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
    if isinstance(plain, list):
        return [_plain(each) for each in plain]
    return plain.decode(errors="replace") if isinstance(plain, bytes) else plain


def _whole(said: dict[str, Any], key: str, name: str) -> int | None:
    value = said.get(key)
    if value is None or (said.get("penstock_format") is None and not isinstance(value, int)):
        return None
    if not isinstance(value, int) or value < 0:
        raise SourceError(f"{name}: attribute {key} = {value!r}: must be a whole number; write the file again")
    return value


def _plan(text: str) -> StreamPlan | None:
    try:
        return StreamPlan.model_validate_json(text) if text else None
    except ValidationError:  # another version's: what it was is still there to read
        return None
