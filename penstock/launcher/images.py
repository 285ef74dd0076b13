"""Streams of a folder of images without a spec: `penstock.images`. It writes the spec and starts a stack for it."""

import os
from collections.abc import Iterator, Mapping
from numbers import Integral
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from penstock.launcher.annotations.folders import recognised
from penstock.launcher.arguments import check_images
from penstock.launcher.notebook import stack_html
from penstock.launcher.stack import LocalStack
from penstock.protocol.errors import MissingFolderError, SpecError
from penstock.protocol.spec.sequences.recipe import SIZES
from penstock.trainer.client.feed import Feed

#: Height and width of samples (pixels) without a recipe.
_SIDE = 224
#: Most that `cache_gb` may be, as `cache.gb` in a spec.
_MOST_GB = 1_000_000
#: Recipes for images with targets, which the folder has to hold.
_ANNOTATED = ("coco-detection", "segmentation")
#: Usual names of the folder with validation images next to `train`.
_VALIDATION = ("validation", "valid", "val", "held-out")


class Images:
    """A folder's training and validation streams, ready to iterate; made by `penstock.images`.

    `train, validation = penstock.images(...)` unpacks the two feeds; `data.train` and `data.validation` are the same.
    The stack behind them stops at `stop()`, at the end of a `with` block, or once nothing refers to any of the three
    any more.
    """

    def __init__(self, stack: LocalStack) -> None:
        """Take a running stack with the streams `train` and, perhaps, `validation`."""
        #: The stack that makes the batches: see `penstock.LocalStack`.
        self.stack = stack
        #: The training stream.
        self.train = stack.feed("train")
        self._validation = stack.feed("validation") if "validation" in stack.spec.streams else None

    @property
    def validation(self) -> Feed:
        """The validation stream, without random changes and in a fixed order. Raises SpecError if there is none."""
        if self._validation is None:
            raise SpecError("there is no validation stream: give penstock.images(..., validation_split=0.2)")
        return self._validation

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in label order."""
        return self.train.classes

    def __iter__(self) -> Iterator[Feed]:
        """Yield the training stream, then the validation stream, for `train, validation = ...`."""
        yield self.train
        yield self.validation

    def __repr__(self) -> str:
        """Show the stack: its streams, and whether it runs."""
        return repr(self.stack).replace("<LocalStack", "<Images", 1)

    def _repr_html_(self) -> str:
        """Show the stack in a notebook."""
        return stack_html(self.stack)

    def __enter__(self) -> Self:
        """Return this."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the stack."""
        self.stop()

    def stop(self) -> None:
        """Close the streams and stop the stack."""
        self.stack.stop()


def images_spec(folder: str | os.PathLike[str], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the spec of a folder: see `penstock.images` for the options. Raises SpecError and MissingFolderError."""
    check_images(folder, options)
    place = Path(folder).expanduser()
    if not place.is_dir():
        hint = "it is a file: for a spec call penstock.local" if place.exists() else "no such folder"
        raise MissingFolderError(f"{os.fspath(folder)!r}: {hint}; give the folder that holds one subfolder per class")
    split = options["validation_split"]
    if isinstance(split, bool) or not isinstance(split, int | float) or not 0 <= split < 1:
        raise SpecError(f"validation_split = {split!r}: give 0 to below 1, such as 0.2")
    if options["recipe"] in _ANNOTATED:
        return _annotated_spec(place, options)
    source: dict[str, Any] = {"kind": "directory", "root": "images"}
    if options["classes"] is not None:
        source["classes"] = list(options["classes"])
    common = {"batch_size": options["batch_size"]}
    changed, plain = _transforms(options)
    sources = {"train": source}
    if held := validation_folder(place):
        if split:
            raise SpecError(
                f"validation_split = {split}: {os.fspath(folder)!r} has folders 'train' and {held!r} already: leave "
                f"validation_split out, or give {str(place / 'train')!r}"
            )
        sources = {"train": source | {"path": "train"}, "validation": source | {"path": held}}
    elif split:
        sources = split_source(source, split)
    streams: dict[str, Any] = {"train": {"source": sources["train"], "transform": changed, **common}}
    streams["train"] |= {"patches": 2} if options["recipe"] == "simclr" else {}
    if "validation" in sources:
        streams["validation"] = {"source": sources["validation"], "transform": plain, "shuffle": False, **common}
    return {"seed": options["seed"], "roots": {"images": str(place)}, "streams": streams}


def with_cache(spec: dict[str, Any], gb: Any, folder: object) -> dict[str, Any]:  # noqa: ANN401 - not checked yet
    """Return a spec whose streams keep decoded images, `gb` in all; none if that is None. Raises SpecError."""
    if gb is None:
        if folder is not None:
            raise SpecError(f"cache = {folder!r}: also say how much it may hold, such as cache_gb=40")
        return spec
    if isinstance(gb, bool) or not isinstance(gb, int | float) or not 0 < gb <= _MOST_GB:
        raise SpecError(f"cache_gb = {gb!r}: give how much decoded images may take (GB), such as 40, or leave it out")
    streams = spec["streams"]
    cache = {"gb": gb / len(streams)}  # they share one folder, which may hold the sum
    return spec | {"streams": {name: stream | {"cache": cache} for name, stream in streams.items()}}


def _annotated_spec(place: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the spec of a folder with annotations. Raises SpecError."""
    recipe, split = options["recipe"], options["validation_split"]
    if options["classes"] is not None:
        raise SpecError(f"classes = {options['classes']!r} and recipe = {recipe!r}: the annotations name the classes")
    found = recognised(place, recipe)
    if found is None:
        raise SpecError(
            f"recipe = {recipe!r}: {str(place)!r} is in none of the layouts that are known for it (COCO, Pascal VOC, "
            "YOLO, images next to masks): see docs/targets.md, or write a spec and call penstock.local"
        )
    sources = {name: {"root": "images", **source} for name, source in found.sources.items()}
    if split and "validation" in sources:
        raise SpecError(f"validation_split = {split}: {str(place)!r} has validation images already: leave it out")
    if split:
        sources = split_source(sources["train"], split)
    common = {"batch_size": options["batch_size"], "targets": found.targets}
    changed, plain = _transforms(options)
    streams: dict[str, Any] = {"train": {"source": sources["train"], "transform": changed, **common}}
    if "validation" in sources:
        streams["validation"] = {"source": sources["validation"], "transform": plain, "shuffle": False, **common}
    return {"seed": options["seed"], "roots": {"images": str(place)}, "streams": streams}


def _transforms(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the transforms of training and of validation. Raises SpecError for options that contradict each other."""
    recipe, color = options["recipe"], {"color": options["color"]}
    size = SIZES.get(recipe, _SIDE) if options["size"] is None else options["size"]
    sides = _sides(size)
    if recipe is None:
        plain = color | {"resize": {"fit": options["fit"], **sides}}
        return plain | {"augment": dict(options["augment"] or {})}, plain
    if options["augment"]:
        raise SpecError(f"augment = {options['augment']!r} and recipe = {recipe!r}: give one of the two")
    if options["fit"] != "stretch":
        raise SpecError(f"fit = {options['fit']!r} and recipe = {recipe!r}: the recipe says how images get their size")
    if sides["height"] != sides["width"]:
        raise SpecError(f"size = {size!r}: the samples of recipe {recipe!r} are squares: give one number")
    changed = color | {"recipe": {"name": recipe, "size": sides["height"]}}
    return changed, color | _without_chance(recipe, sides)


def _without_chance(recipe: str, sides: dict[str, int]) -> dict[str, Any]:
    """Return how images of validation get the size of a recipe's samples."""
    size = sides["height"]
    if recipe == "cifar-train":
        return {"resize": sides}
    if recipe == "keras-imagedatagenerator":
        return {"resize": sides | {"filter": "nearest"}}
    if recipe in _ANNOTATED:  # with all of the image, so that no target is cut
        return {"steps": [{"op": "letterbox", "size": size}]}
    if recipe == "timm-a1":  # 95 % of the shorter side, as its authors test
        shorter = {"op": "resize", "shorter": round(size / 0.95), "filter": "bicubic"}
        return {"steps": [shorter, {"op": "center_crop", "size": size}]}
    return {"recipe": {"name": "imagenet-eval", "size": size}}


def _sides(size: Any) -> dict[str, int]:  # noqa: ANN401 - not checked yet
    """Return height and width. Raises SpecError."""
    sides: list[Any] = list(size) if isinstance(size, tuple | list) else [size, size]
    if len(sides) == 2 and all(not isinstance(side, bool) and isinstance(side, Integral) for side in sides):  # noqa: PLR2004
        return {"height": int(sides[0]), "width": int(sides[1])}
    raise SpecError(f"size = {size!r}: give (height, width) in pixels, or one number for both")


def split_source(source: dict[str, Any], split: float) -> dict[str, dict[str, Any]]:
    """Return the sources of the streams `train` and `validation`, which share one source's items."""
    subsets = {"train": "training", "validation": "validation"}
    return {name: source | {"validation_split": split, "subset": subset} for name, subset in subsets.items()}


def validation_folder(place: Path) -> str:
    """Return the name of the folder with validation images if `place` holds `train` and one; else an empty text."""
    if not (place / "train").is_dir():
        return ""
    return next((name for name in _VALIDATION if (place / name).is_dir()), "")
