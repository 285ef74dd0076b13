"""Where a stream's items come from: the fields that all kinds of source share, and the table of kinds.

A kind's own fields, its listing and its reader stand in one module of `penstock.sources`. The table names those modules
as text, because they stand above this one; a kind is loaded when a spec or a plan first names it.
"""

import importlib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Protocol, Self

from pydantic import ConfigDict, Field, PlainValidator, SerializeAsAny, model_validator
from pydantic_core import PydanticCustomError

from penstock.protocol.errors import SpecError
from penstock.protocol.spec.model import Model, RootName

#: Penstock's own kinds: `module:attribute` of each kind's `penstock.sources.base.SourceKind`.
KINDS: dict[str, str] = {
    "directory": "penstock.sources.directory:KIND",
    "manifest": "penstock.sources.manifest:KIND",
    "arrays": "penstock.sources.arrays:KIND",
    "hdf5": "penstock.sources.hdf5:KIND",
    "coco": "penstock.sources.annotated.coco:KIND",
    "voc": "penstock.sources.annotated.voc:KIND",
    "yolo": "penstock.sources.annotated.paired:YOLO",
    "paired": "penstock.sources.annotated.paired:PAIRED",
    "tar": "penstock.sources.containers.tar:KIND",
    "parquet": "penstock.sources.containers.parquet:KIND",
    "arrow": "penstock.sources.containers.arrow:KIND",
    "tfrecord": "penstock.sources.containers.tfrecord:KIND",
    "lmdb": "penstock.sources.containers.lmdb:KIND",
    "mds": "penstock.sources.containers.mds:KIND",
    "mixture": "penstock.sources.choice.mixture:KIND",
}
#: The kind whose samples have a field `source`, the part of the mixture that they come from.
MIXTURE = "mixture"
#: Entry point group in which an installed package adds kinds: the entry's name is the kind.
GROUP = "penstock.sources"


class Source(Model):
    """The fields of every kind of source."""

    root: RootName
    """Name of the root that the paths are relative to; each host maps it: `[roots]` here, `--root name=/path` there.
    Image files and manifests may lie below a URL: `--root name=http://host/folder`."""
    classes: tuple[str, ...] | None = None
    """Class names in label order; default: all that are found, sorted."""
    rename: dict[str, str] = Field(default_factory=dict)
    """New names of classes, by the names that are found: `{ tabby = "cat", siamese = "cat" }` makes one class of two.
    `classes` then lists the new names."""
    other_classes: Literal["refuse", "leave_out"] = "refuse"
    """What becomes of items whose class is not among `classes`: an error, or they are left out."""
    limit: int | None = Field(default=None, ge=1)
    """At most this many items, spread evenly over the source's order; default: all."""
    allow_outside: bool = False
    """Follow symbolic links that lead out of the root; otherwise such a link is an error. On one host, links of folders
    are followed unless this is set to false (docs/sources.md)."""
    validation_split: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Fraction of each class that `subset = "validation"` holds, chosen by a hash of the path; 0 to below 1."""
    subset: Literal["all", "training", "validation"] = "all"
    """Which side of `validation_split` to take."""

    @model_validator(mode="after")
    def _subset_needs_a_split(self) -> Self:
        if (self.subset == "all") != (self.validation_split == 0.0):
            raise ValueError(
                f"subset = {self.subset!r} with validation_split = {self.validation_split}: give both, or neither"
            )
        return self

    @model_validator(mode="after")
    def _others_need_classes(self) -> Self:
        if self.other_classes == "leave_out" and self.classes is None:
            raise ValueError("other_classes = 'leave_out' needs classes: the names of those that stay")
        return self

    @property
    def selects(self) -> bool:
        """Whether items of the listing are left out or renamed."""
        return bool(self.rename) or self.other_classes == "leave_out" or self.limit is not None

    @property
    def unselected(self) -> Self:
        """The source without that: what the ventilator lists first, and what workers read."""
        if not self.selects:
            return self
        update: dict[str, object] = {"rename": {}, "other_classes": "refuse", "limit": None}
        if self.rename or self.other_classes == "leave_out":
            update["classes"] = None
        return self.model_copy(update=update)

    @property
    def kind_name(self) -> str:
        """The kind, as the spec names it: every subclass declares `kind: Literal["…"]`."""
        return str(getattr(self, "kind", ""))


class ForeignSource(Source):
    """A source whose kind is not installed here; its own fields are kept as they came.

    A sink or a trainer, and a program that opens a recorded file, need a plan's other facts and never read the source.
    """

    model_config = ConfigDict(extra="allow")

    kind: str
    """The kind's name."""


class HasModel(Protocol):
    """The part of a kind that the spec uses."""

    @property
    def model(self) -> type[Source]:
        """The kind's fields."""
        ...


@cache
def load_kind(name: str) -> HasModel:
    """Return the kind of this name. Raises SpecError if no installed package has it, or if it cannot be loaded."""
    if name in KINDS:
        module, _, attribute = KINDS[name].partition(":")
        kind: HasModel = getattr(importlib.import_module(module), attribute)
        return kind
    found = list(entry_points(group=GROUP, name=name))
    if not found:
        known = ", ".join(map(repr, installed_kinds()))
        raise SpecError(
            f"no such kind of source; known here: {known}; a kind of another package needs that package on every host "
            "that lists or reads the source"
        )
    if len({entry.value for entry in found}) > 1:
        values = ", ".join(sorted(entry.value for entry in found))
        raise SpecError(f"several installed packages add this kind of source: {values}; uninstall all but one")
    try:
        kind = found[0].load()
    except Exception as error:  # code of another package: any error may leave it
        raise SpecError(f"cannot load {found[0].value}: {type(error).__name__}: {error}") from error
    return kind


def installed_kinds() -> list[str]:
    """Return the names of all kinds: Penstock's own, then those of other packages."""
    return [*KINDS, *sorted(entry_points(group=GROUP).names - KINDS.keys())]


def model_of(fields: object) -> type[Source]:
    """Return the model of a source that is given as a table; `ForeignSource` if its kind is not installed here."""
    name = fields.get("kind") if isinstance(fields, Mapping) else None
    try:
        return load_kind(name).model if isinstance(name, str) else ForeignSource
    except SpecError:  # `check_kind` raises it again where the source is needed
        return ForeignSource


def _as_source(value: object) -> Source:
    """Return a source as the model of its kind."""
    if isinstance(value, Source):
        return value
    if not isinstance(value, Mapping):
        raise PydanticCustomError("source", "must be a table such as {kind = 'directory', root = 'photos'}")
    fields: dict[str, Any] = dict(value)
    if not isinstance(fields.get("kind"), str):
        known = ", ".join(map(repr, installed_kinds()))
        raise PydanticCustomError("source", "needs kind = one of {known}", {"known": known})
    return model_of(fields).model_validate(fields)


def check_kind(source: Source) -> None:
    """Raise SpecError, which quotes the kind, if the source's kind cannot be used on this host."""
    try:
        load_kind(source.kind_name)
    except SpecError as error:
        raise SpecError(f"kind = {source.kind_name!r}: {error}") from error


#: A stream's source: `kind` decides which model checks the fields.
AnySource = Annotated[SerializeAsAny[Source], PlainValidator(_as_source)]


def confined(value: str) -> str:
    """Return a path of a spec that stays below its root; for validators. Raises ValueError."""
    if value.startswith("/") or "\\" in value or "\0" in value or ".." in PurePosixPath(value).parts:
        raise ValueError("must be a relative path with '/' between parts and no '..'; the root is mapped by each host")
    return value
