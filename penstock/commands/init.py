"""`penstock init`: looks at a folder of images or at a manifest, and writes a commented spec with a fitting recipe.

It lists the source and reads the headers of a few images; it decodes none and starts no process.
"""

import json
import math
import statistics
import sys
import tomllib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydantic import Field
from pydantic_settings import CliPositionalArg

from penstock.launcher.annotations.folders import Annotated, recognised
from penstock.launcher.annotations.tables import recognised_table
from penstock.launcher.images import split_source, validation_folder
from penstock.protocol.errors import MissingFolderError, SourceError, SpecError
from penstock.protocol.messages import TaskKey
from penstock.protocol.plan import StreamPlan
from penstock.protocol.runtime.service import run
from penstock.protocol.runtime.settings import Settings
from penstock.protocol.spec.spec import parse_spec
from penstock.sources.base import open_reader
from penstock.ventilator.sources.catalog import Catalog

#: Suffixes of manifests, and images whose headers are read.
_MANIFESTS, _LOOKED_AT = (".csv", ".jsonl", ".ndjson", ".parquet"), 32
#: Longest side (pixels) of images that are taken for CIFAR's kind; the recipe's usual size; and what others are
#: rounded down to.
_TINY, _USUAL, _MULTIPLE = 64, 224, 32
#: The same of images with targets.
_LARGEST = {"coco-detection": 640, "segmentation": 512}
#: What each recipe does, in a line.
_ABOUT = {
    "cifar-train": "a random crop after padding; flip",
    "imagenet-train": "a random part, resized; flip",
    "coco-detection": "flip, other colours, resized into a square",
    "segmentation": "a random part, resized; flip",
}


class SpecSettings(Settings):
    """Writes a commented spec for a folder of images, or for a manifest, with the recipe that fits its images."""

    source: CliPositionalArg[str]
    """Folder with one subfolder per class, or with `train` and `validation`, or with annotations in the layout of COCO,
    Pascal VOC or YOLO, or with `images` and `masks`; or a CSV, JSON lines or Parquet
    manifest, with columns `path` and `label`, or a column `boxes` or `mask`."""
    output: str = Field(default="spec.toml")
    """File to write; it must not exist."""
    validation_split: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Fraction of each class that is held out for validation, unless the folder holds `validation`; 0 for none."""


@dataclass(frozen=True, slots=True)
class Found:
    """What was seen of a source."""

    items: int
    classes: tuple[str, ...]
    #: Height and width of some images.
    sizes: tuple[tuple[int, int], ...]
    #: What goes with the images, if the folder is in a layout of annotated images.
    annotated: Annotated | None = None

    @property
    def class_count(self) -> int:
        """Number of classes: of the images, or of their boxes or masks."""
        return self.annotated.class_count if self.annotated else len(self.classes)

    @property
    def fitting(self) -> tuple[str, int]:
        """The recipe for the images, and the size of its samples."""
        if self.annotated is None:
            return fitting(self.sizes)
        recipe = self.annotated.recipe
        longer = recipe == "coco-detection"  # which shows the whole image
        side = int(statistics.median(max(size) if longer else min(size) for size in self.sizes))
        rounded = -(-side // _MULTIPLE) if longer else max(1, side // _MULTIPLE)
        return recipe, min(_LARGEST[recipe], rounded * _MULTIPLE)


def serve(settings: SpecSettings) -> int:
    """Write the spec and say what it holds."""
    output = Path(settings.output)
    if output.exists():
        raise SpecError(f"{output}: exists already: remove it, or give another file with --output")
    place = Path(settings.source).expanduser()
    annotated = recognised(place) if place.is_dir() else recognised_table(place) if place.is_file() else None
    if annotated is None:
        root, sources = sources_of(place, settings.validation_split)
    else:
        root = place if place.is_dir() else place.parent
        sources = _annotated_sources(annotated, settings.validation_split)
    found = look(root, sources["train"], annotated)
    recipe, size = found.fitting
    text = spec_text(root, sources, found, recipe, size)
    parse_spec(tomllib.loads(text))  # a mistake in it shows before there is a file
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SpecError(f"{output}: cannot write the spec: {error.strerror}") from error
    print(f"{output}: {found.items:,} training images in {found.class_count:,} classes; recipe {recipe}, size {size}")
    print(f"next: penstock check {output}")
    return 0


def sources_of(place: Path, split: float) -> tuple[Path, dict[str, dict[str, Any]]]:
    """Return the root's folder, and the source of each stream. Raises MissingFolderError and SpecError."""
    if place.is_file():
        if place.suffix.lower() not in _MANIFESTS:
            raise SpecError(
                f"{place}: no manifest: give a CSV, JSON lines or Parquet file with columns path and label, or a folder"
            )
        return place.parent, _split({"kind": "manifest", "root": "images", "path": place.name}, split)
    if not place.is_dir():
        raise MissingFolderError(f"{place}: no such folder; give the one that holds one subfolder per class")
    source = {"kind": "directory", "root": "images"}
    if held := validation_folder(place):
        return place, {"train": source | {"path": "train"}, "validation": source | {"path": held}}
    return place, _split(source, split)


def _annotated_sources(annotated: Annotated, split: float) -> dict[str, dict[str, Any]]:
    sources = {name: {"root": "images", **source} for name, source in annotated.sources.items()}
    return sources if "validation" in sources else _split(sources["train"], split)


def _split(source: dict[str, Any], split: float) -> dict[str, dict[str, Any]]:
    return split_source(source, split) if split else {"train": source}


def look(root: Path, source: dict[str, Any], annotated: Annotated | None = None) -> Found:
    """List a source, and read the headers of some of its images. Raises SourceError if none can be read."""
    stream = {"source": source, "transform": {"resize": [1, 1]}}
    spec = parse_spec({"roots": {"images": str(root)}, "streams": {"train": stream}})
    catalog = Catalog.open(spec, spec.roots)
    (plan,) = catalog.plans
    reader, sizes = open_reader(plan, spec.roots), []
    for slot in np.unique(np.linspace(0, plan.items - 1, _LOOKED_AT).astype(int)).tolist():
        content = reader.read(catalog.task(_key(plan, slot), 0)).contents[0]
        if isinstance(content, bytes) and (size := _size(content)):
            sizes.append(size)
    if not sizes:
        raise SourceError(f"{root}: none of the {_LOOKED_AT} images that were opened can be read; see penstock preview")
    return Found(plan.items, plan.classes, tuple(sizes), annotated)


def _key(plan: StreamPlan, slot: int) -> TaskKey:
    ordinal, offset = divmod(slot, plan.geometry.task_items)
    return TaskKey(stream=plan.name, ordinal=ordinal, item_offset=offset)


def _size(content: bytes) -> tuple[int, int] | None:
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(BytesIO(content)) as image:
            return image.height, image.width
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def fitting(sizes: Sequence[tuple[int, int]]) -> tuple[str, int]:
    """Return the recipe for images of these sizes, and the size of its samples.

    Small squares of one size, such as CIFAR's, are cropped after padding; of all others, random parts are resized, to
    no more than most images have.
    """
    height, width = sizes[0]
    if len(set(sizes)) == 1 and height == width <= _TINY:
        return "cifar-train", height
    shorter = int(statistics.median(min(size) for size in sizes))
    return "imagenet-train", min(_USUAL, max(_MULTIPLE, shorter // _MULTIPLE * _MULTIPLE))


def spec_text(root: Path, sources: dict[str, dict[str, Any]], found: Found, recipe: str, size: int) -> str:
    """Return the spec as TOML, with comments."""
    ordered = sorted(found.sizes, key=math.prod)
    low, high = ordered[0], ordered[-1]
    lines = [
        f"# {found.items:,} training images in {found.class_count:,} classes; {len(found.sizes)} were looked at, of",
        f"# {low[0]} × {low[1]} to {high[0]} × {high[1]} pixels (height × width).",
        "# All fields: docs/spec.md. What this spec delivers: penstock check.",
        "",
        "seed = 0                        # of the order and of all random changes",
        "",
        "[roots]",
        f"images = {_quoted(str(root.resolve()))}",
    ]
    for name, source in sources.items():
        lines += ["", f"[streams.{name}]", "batch_size = 32"]
        lines += [] if name == "train" else ["shuffle = false"]
        lines += ["", f"[streams.{name}.source]", *(f"{key} = {_quoted(value)}" for key, value in source.items())]
        for target, fields in found.annotated.targets.items() if found.annotated else ():
            lines += ["", f"[streams.{name}.targets.{target}]"]
            lines += [f"{key} = {_quoted(value)}" for key, value in fields.items()]
        lines += ["", f"[streams.{name}.transform]", *_transform(name, recipe, size)]
    return "\n".join(lines) + "\n"


def _transform(stream: str, recipe: str, size: int) -> list[str]:
    if stream == "train":
        return [
            f'recipe = {{ name = "{recipe}", size = {size} }}    # {_ABOUT[recipe]}',
            "# For more random changes, uncomment these lines:",
            f"# [[streams.{stream}.transform.steps]]",
            '# op = "trivial_augment"',
        ]
    if recipe == "cifar-train":
        return [f"resize = [{size}, {size}]"]
    if recipe in _LARGEST:
        return [f'steps = [{{ op = "letterbox", size = {size} }}]    # the whole image, resized into a square']
    return [f'recipe = {{ name = "imagenet-eval", size = {size} }}    # the middle of the resized image']


def _quoted(value: object) -> str:
    """Return a text, a number, a list or a table as TOML: JSON's way to write the first three is TOML's."""
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {_quoted(each)}' for key, each in value.items())} }}"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `penstock init`."""
    return run(SpecSettings, serve, "init", arguments)


if __name__ == "__main__":
    sys.exit(main())
