"""The spec: training streams as pydantic models, read from one TOML file.

The models define every field's meaning, unit, default and bounds; errors name file, field, value and what is allowed.
"""

import json
import tomllib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from penstock.protocol.errors import SpecError
from penstock.protocol.spec import html
from penstock.protocol.spec.choice.part_transforms import check_part_transforms, own_transforms, with_own_transforms
from penstock.protocol.spec.choice.sampling import Sampling
from penstock.protocol.spec.model import Model, Name, RootPath
from penstock.protocol.spec.pinning import with_statistics
from penstock.protocol.spec.roots import absolute_root, root_names
from penstock.protocol.spec.source import AnySource, check_kind
from penstock.protocol.spec.targets.kinds import AnyTarget
from penstock.protocol.spec.targets.placed import PlacedTarget, placed_targets
from penstock.protocol.spec.targets.target import MOST_NAME
from penstock.protocol.spec.transform import Transform
from penstock.protocol.spec.validation_errors import explain


class Cache(Model):
    """Keep on each worker's host what images are before the first random change (docs/cache.md)."""

    gb: float = Field(gt=0, le=1_000_000)
    """Room (GB, 10^9 bytes) on each host. Streams share one store, which may take the sum of what they give."""
    verify: Literal["times", "digest"] = Field(default="times", exclude_if=lambda verify: verify == "times")
    """What says that a file is the one that was decoded: inode, size and times, and where these differ its digest; or
    the digest in every epoch."""


class Stream(Model):
    """One stream: a source, a transform and how samples become batches."""

    source: AnySource
    """Where the items come from."""
    transform: Transform
    """What a worker makes of each item."""
    targets: dict[Name, AnyTarget] = Field(default_factory=dict, exclude_if=lambda targets: not targets)
    """What goes with the image, by the name of its field: boxes, polygons, masks, keypoints and further images move
    with it; labels, numbers and text do not. Each comes from a column of the manifest."""
    patches: int = Field(default=1, ge=1, le=1_000_000)
    """Samples that each item yields."""
    mix: int = Field(default=1, ge=1, le=1_000_000)
    """Mix window: this many consecutive items of the shuffled order have their samples permuted together."""
    shuffle: bool | Literal["shards"] = True
    """A new order every epoch; false: the source's own order. `shards` is a weaker shuffle for sources of shards, by
    which workers read a few shards at a time: the shards are permuted, and items mixed within windows of them."""
    shard_window: int = Field(default=8, ge=1, le=100_000)
    """With `shuffle = "shards"`, how many shards make a window: more mix better, and are read at a time."""
    sampling: Sampling | None = None
    """How often each item comes in an epoch; default: once."""
    shard: Annotated[str, Field(pattern=r"^[1-9][0-9]*/[1-9][0-9]*$")] = "1/1"
    """`k/n`: every n-th item starting with the k-th, for n jobs that split one source."""
    batch_size: int = Field(default=32, ge=1, le=1_000_000)
    """Samples in a batch."""
    drop_remainder: bool = False
    """Drop an epoch's last batch if it is not full."""
    failure_budget: float = Field(default=0.05, ge=0.0, le=1.0)
    """Fraction of an epoch's items, rounded up, that may be quarantined before the stream stops; 0 to 1."""
    window_mb: float = Field(default=256.0, gt=0)
    """Memory (MB, 10^6 bytes) of samples that the sink may hold ahead of a trainer; never below two batches, or two
    epochs if those are smaller."""
    window_epochs: int = Field(default=3, ge=1, le=1_000_000)
    """Epochs that the sink may hold ahead of a trainer, where `window_mb` has room for more: small sources. Never below
    16 tasks, so that several workers have enough to do."""
    cache: Annotated[Cache | None, Field(exclude_if=lambda cache: cache is None)] = None
    """Keep decoded images on each worker's host, such as `{ gb = 40 }`; without it, each epoch decodes them again.
    `verify = "digest"` in it reads every file in every epoch and compares it with the one that was decoded."""
    task_items: int | None = Field(default=None, ge=1, le=4096)
    """Items in a task; default: about 4 MB of samples, but at most a 64th of the epoch's items (or 16 items, if that is
    more), whole batches where that comes near; twice as many items and four times the bytes of
    `arrays` and `hdf5`, where nothing is decoded. Rounded so that tasks and mix windows nest."""

    @model_validator(mode="after")
    def _parts_agree(self) -> "Stream":
        index, count = self.shard_of
        if index >= count:
            raise ValueError(f"shard = {self.shard!r}: the first number must not exceed the second")
        for step in self.transform.every_step:
            if self.patches % step.views:
                raise ValueError(
                    f"patches = {self.patches}, but step {step.name} makes {step.views} samples of each image: give "
                    f"patches = {step.views}, or a multiple"
                )
        patch = self.transform.patch
        if not self.transform.framed:
            return self
        if patch is None or patch.kind == "center":
            if self.patches != 1:
                raise ValueError(
                    f"patches = {self.patches} needs transform.patch.kind = 'random', 'scattered' or 'grid', or "
                    "steps without resize and patch"
                )
        elif patch.kind == "grid" and self.patches != patch.rows * patch.columns:
            raise ValueError(
                f"patches = {self.patches} but the grid has {patch.rows} × {patch.columns} cells: make them equal"
            )
        elif patch.kind == "scattered" and self.patches > (most := self.transform.most_scattered):
            raise ValueError(
                f"patches = {self.patches} but at most {most} fit into the resized image without overlapping: "
                "cut fewer or smaller patches, or resize to a larger image"
            )
        return self

    @model_validator(mode="after")
    def _targets_follow(self) -> "Stream":
        if not self.targets:
            return self
        if self.transform.framed:
            raise ValueError(
                "targets move with steps only: give resize, patch and augment as steps, such as "
                '{ op = "letterbox", size = 640 }'
            )
        for step in self.transform.every_step:
            if step.hides_moves:
                raise ValueError(f"targets cannot follow step {step.name}: leave it out, or leave the targets out")
        taken = {*self.transform.image_names, "label", "item", "patch"}
        for placed in self.placed_targets:
            if len(placed.field) > MOST_NAME or placed.fields.keys() & taken:
                raise ValueError(
                    f"target {placed.name!r} makes the fields {', '.join(placed.fields)}: names may have "
                    f"{MOST_NAME} characters, and those of other fields are taken ({', '.join(sorted(taken))})"
                )
            taken |= placed.fields.keys()
        return self

    @model_validator(mode="after")
    def _samples_of_parts_are_alike(self) -> "Stream":
        check_part_transforms(self)
        return self

    @property
    def transforms(self) -> tuple[Transform, ...]:
        """The stream's transform, and those of the parts of its mixture that have one of their own."""
        return (self.transform, *own_transforms(self.source).values())

    @property
    def placed_targets(self) -> tuple[PlacedTarget, ...]:
        """The targets of a sample, each with the image that it goes with."""
        return self._placed_targets

    @cached_property
    def _placed_targets(self) -> tuple[PlacedTarget, ...]:
        sizes = {name: shape[:2] for name, shape in self.transform.image_shapes.items()}
        return tuple(placed_targets(self.targets, sizes, views=bool(self.transform.all_views)))

    @property
    def target_columns(self) -> tuple[str, ...]:
        """The columns that targets are made of, each once: the order of an item's cells."""
        return tuple(dict.fromkeys(target.column for target in self.targets.values()))

    @property
    def shard_of(self) -> tuple[int, int]:
        """The shard as (index from 0, count)."""
        index, count = self.shard.split("/")
        return int(index) - 1, int(count)


class Spec(Model):
    """One or more streams under one seed."""

    seed: int = Field(default=0, ge=0, lt=2**63)
    """Seed of every order and every random draw; 0 to 2^63 - 1."""
    roots: dict[Name, RootPath] = Field(default_factory=dict)
    """Where each named root lies for this host: a folder (relative paths start at the spec file's), or a URL that
    fsspec knows (`http://host/folder`, `s3://bucket/folder`). Not part of the
    fingerprint: other hosts map their own with `--root name=/path`."""
    streams: dict[Name, Stream] = Field(min_length=1)
    """The streams by name, such as `train` and `validation`."""

    def _repr_html_(self) -> str:
        """Show the streams in a notebook."""
        rows = []
        for name, stream in self.streams.items():
            source, transform = stream.source, stream.transform
            shapes = dict.fromkeys(" × ".join(map(str, shape)) for shape in transform.image_shapes.values())
            facts = (
                name,
                f"{source.kind_name} in {self.roots.get(source.root, source.root)}",
                ", ".join(shapes),
                stream.batch_size,
            )
            changes = ", ".join(
                [*transform.augment.model_dump(exclude_defaults=True), *(step.name for step in transform.every_step)]
            )
            rows.append(tuple(html.text(fact) for fact in (*facts, changes or "none")))
        columns = ("stream", "source", "sample", "batch size", "random changes")
        return html.box("Spec", f"seed {self.seed}", html.table(columns, rows))

    @property
    def root_names(self) -> set[str]:
        """Names of all roots that the spec knows: those in `roots`, and those that streams ask for."""
        return {*self.roots, *root_names(self.model_dump()["streams"])}

    def map_roots(self, given: Mapping[str, str]) -> dict[str, str]:
        """Return where each root lies when `given` goes before `roots`. Raises SpecError for a name that is unknown."""
        if unknown := sorted(given.keys() - self.root_names):
            raise SpecError(
                f"root {unknown[0]!r} = {given[unknown[0]]!r}: no stream has a root of that name; the spec's roots: "
                f"{', '.join(sorted(self.root_names)) or 'none'}"
            )
        return self.roots | dict(given)

    def known_roots(self, given: Mapping[str, str]) -> dict[str, str]:
        """Return the roots of `given` that this spec knows, for a spec that was reduced to some of its streams."""
        return {name: root for name, root in given.items() if name in self.root_names}


def only_stream(spec: Spec, stream: str | None) -> Spec:
    """Return the spec with one stream; None: its first. Raises SpecError."""
    name = stream or next(iter(spec.streams))
    if name not in spec.streams:
        raise SpecError(f"--stream {name!r}: no such stream; there are: {', '.join(spec.streams)}")
    return spec.model_copy(update={"streams": {name: spec.streams[name]}})


def load_spec(path: str | Path) -> Spec:
    """Read a spec from a TOML file (or JSON, by its suffix); relative roots are resolved against the file's folder.

    Raises SpecError with the file, the field, the value and what is allowed.
    """
    path = Path(path)
    if path.is_dir():
        raise SpecError(
            f"{path}: is a folder, and a spec is a TOML file; for a folder of images with one subfolder per class: "
            f"penstock.images({str(path)!r}, size=(224, 224)), or a spec with a source of kind 'directory'"
        )
    try:
        text = path.read_text(encoding="utf-8-sig")  # some editors write a byte-order mark
        data = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise SpecError(f"{path}: cannot read the spec: {error.strerror}; give the path of a TOML file") from error
    except ValueError as error:  # of TOML, JSON and UTF-8 alike
        raise SpecError(f"{path}: not valid {'JSON' if path.suffix == '.json' else 'TOML'}: {error}") from error
    return parse_spec(data, base=path.parent, name=str(path))


def parse_spec(data: Mapping[str, Any], *, base: Path | None = None, name: str = "spec") -> Spec:
    """Check a spec given as a mapping; `base` is where relative roots start, `name` stands in errors for the file.

    Raises SpecError.
    """
    try:
        spec = Spec.model_validate(data)
    except ValidationError as error:
        raise SpecError("\n".join(explain(name, problem, Spec, data) for problem in error.errors())) from None
    roots = {key: absolute_root(root, base or Path.cwd()) for key, root in spec.roots.items()}
    for stream, settings in spec.streams.items():
        try:
            check_kind(settings.source)
        except SpecError as error:
            raise SpecError(f"{name}: streams.{stream}.source.{error}") from None
        if roots and settings.source.root not in roots:
            raise SpecError(
                f"{name}: streams.{stream}.source.root = {settings.source.root!r}: no such root; "
                f"[roots] has {', '.join(sorted(roots))}"
            )
    streams = {
        stream: _pinned(f"{name}: streams.{stream}", settings, roots) for stream, settings in spec.streams.items()
    }
    return spec.model_copy(update={"roots": roots, "streams": streams})


def as_spec(spec: object) -> Spec:
    """Return a spec that is given as the path of a file, as a mapping, or as it is. Raises SpecError.

    The argument's type is checked here, since programs that call `penstock.local` need not be type-checked.
    """
    if isinstance(spec, Spec):
        return spec
    if isinstance(spec, Mapping):
        return parse_spec(spec)
    if not isinstance(spec, str | Path):
        raise SpecError(
            f"{spec!r} is no spec: give the path of a TOML file, or its content as a mapping; a folder of images needs "
            "no spec: penstock.images(folder) starts its stack itself"
        )
    return load_spec(spec)


def _pinned(name: str, stream: Stream, roots: Mapping[str, str]) -> Stream:
    """Return a stream with what its statistics files hold. Raises SpecError."""
    transform = with_statistics(f"{name}.transform", stream.transform, stream.source, roots)
    parts = {
        part: with_statistics(f"{name}.source.parts.{part}.transform", own, stream.source, roots)
        for part, own in own_transforms(stream.source).items()
    }
    source = with_own_transforms(stream.source, parts) if parts else stream.source
    return stream.model_copy(update={"transform": transform, "source": source})
