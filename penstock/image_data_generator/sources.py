"""Makes the feeder of an iterator: chooses its source, its transform, and worker processes or none."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.image_data_generator.arrays import NEARLY, eight_bits
from penstock.image_data_generator.checks import check_choice
from penstock.image_data_generator.feeders import Changed, Feeder, InProcessFeeder, Order, Source, Unchanged, change_by
from penstock.image_data_generator.settings import ImageSettings
from penstock.image_data_generator.workers import Workers
from penstock.protocol.errors import ArgumentError
from penstock.protocol.runtime.cores import usable_cores
from penstock.protocol.spec.augment import Augment

Images = npt.NDArray[Any]

#: Below this many files, or images of an array, none are made in worker processes unless asked for: starting those
#: takes a second or two.
_FEW_FILES, _FEW_IMAGES = 64, 256
#: Keras's color modes: the spec's, and the channels.
COLORS = {"rgb": ("rgb", 3), "grayscale": ("gray", 1), "rgba": ("rgba", 4)}
#: Channels of arrays that workers know: the spec's colors.
_SENT = {1: "gray", 3: "rgb"}
#: Filters that Keras knows: the spec's of the same names.
_INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "hamming", "box", "lanczos")
#: The highest of 8 bits' levels.
_HIGHEST = 255
#: Characters that stand for bytes of a file name that are not UTF-8.
_NOT_TEXT = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class FileSettings:
    """The arguments that say how image files become arrays."""

    size: tuple[int, int]
    color_mode: str
    interpolation: str
    keep_aspect_ratio: bool

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels."""
        return *self.size, COLORS[self.color_mode][1]

    def transform(self, settings: Augment) -> dict[str, Any]:
        """Return the spec's transform."""
        fit = "cover" if self.keep_aspect_ratio else "stretch"
        resize = {"height": self.size[0], "width": self.size[1], "filter": self.interpolation, "fit": fit}
        return {"color": COLORS[self.color_mode][0], "resize": resize, "augment": settings}


def file_settings(target_size: Any, color_mode: str, interpolation: str, *, keep_aspect_ratio: bool) -> FileSettings:
    """Return the checked settings. Raises ArgumentError."""
    try:
        height, width = (int(side) if side == int(side) else 0 for side in target_size)
    except (TypeError, ValueError, OverflowError):
        height = width = 0
    if min(height, width) < 1:
        raise ArgumentError(f"target_size = {target_size!r}: give (height, width) in pixels")
    check_choice("color_mode", color_mode, tuple(COLORS))
    check_choice("interpolation", interpolation, _INTERPOLATIONS)
    return FileSettings((height, width), color_mode, interpolation, bool(keep_aspect_ratio))


def of_files(
    generator: ImageSettings, paths: Sequence[str], files: FileSettings, order: Order, workers: int | None
) -> tuple[Feeder, int]:
    """Return a feeder that reads, resizes and randomly changes files, and its number of worker processes."""
    here = os.getcwd()  # noqa: PTH109 - before the script goes elsewhere
    for path in paths:
        _check_path(path if path.startswith("/") else f"{here}/{path}")
    own = generator.transforms_itself
    settings = Augment() if own else generator.augmentation()
    if settings.fills and not 0 <= settings.cval <= _HIGHEST:
        raise ArgumentError(
            f"cval = {settings.cval!r}: image files have levels of 0 to 255; give one of these, or read the images "
            "yourself and give them to `flow` as an array of floats"
        )
    source = Source(
        transform=files.transform(settings),
        source={"kind": "manifest", "classes": ("0",), "frame": _Listed(here, paths)},
        path=lambda item: _below_root(here, paths[item]),
    )
    feeder, count = _made(source, order, workers, _FEW_FILES)
    return (_changed_by(generator, feeder, order) if own else feeder), count


@dataclass(frozen=True, slots=True)
class _Listed:
    """Files as the data frame that a stack takes: paths from the root `/` on, all with one label."""

    here: str
    paths: Sequence[str]
    columns: tuple[str, str] = ("path", "label")

    def __getitem__(self, column: str) -> Iterator[str]:
        """Yield a column's values."""
        return (_below_root(self.here, path) if column == "path" else "0" for path in self.paths)


def _below_root(here: str, path: str) -> str:
    """Return a path, which may be relative to `here`, from the stream's root `/` on. Raises ArgumentError."""
    whole = os.path.join(here, path)  # noqa: PTH118 - a hundred thousand Paths take seconds
    whole = os.path.abspath(whole) if ".." not in path.split("/") else os.path.realpath(whole)  # noqa: PTH100
    _check_path(whole)
    return whole[1:]


def _check_path(path: str) -> None:
    if "\\" in path or "\0" in path or _NOT_TEXT.search(path):
        raise ArgumentError(f"{path!r}: paths with backslashes, NUL or bytes that are not UTF-8 cannot be sent: rename")


@dataclass(frozen=True, slots=True)
class ArrayFeeder:
    """A feeder of changed images of an array, with its divisor and its number of workers."""

    feeder: Feeder
    #: Divisor of the images' values.
    divisor: float
    #: Worker processes.
    workers: int


def of_arrays(generator: ImageSettings, images: Images, order: Order, workers: int | None) -> ArrayFeeder:
    """Return a feeder that randomly changes images (count, height, width, channels)."""
    plain = Unchanged(images, order)
    if generator.transforms_itself:
        return ArrayFeeder(_changed_by(generator, plain, order), 1.0, 0)
    settings = generator.augmentation()
    columns, change = change_by(settings)
    if not columns:
        return ArrayFeeder(plain, 1.0, 0)
    levels = eight_bits(images)
    scaled = _scaled(settings, levels.divisor) if levels else None
    if levels is None or scaled is None:
        floats = plain if images.dtype.kind == "f" else Unchanged(images.astype(generator.dtype), order)
        return ArrayFeeder(Changed(floats, order, columns, change), 1.0, 0)
    if images.shape[3] not in _SENT:
        columns, change = change_by(scaled)
        return ArrayFeeder(Changed(Unchanged(levels.images, order), order, columns, change), levels.divisor, 0)
    height, width, channels = images.shape[1:]
    source = Source(
        transform={"color": _SENT[channels], "resize": {"height": height, "width": width}, "augment": scaled},
        source={"kind": "arrays", "images": levels.images},
        images=levels.images,
    )
    feeder, count = _made(source, order, workers, _FEW_IMAGES)
    return ArrayFeeder(feeder, levels.divisor, count)


def _scaled(settings: Augment, divisor: float) -> Augment | None:
    """Return the same changes for levels that are `divisor` times as high; None if 8 bits cannot hold them."""
    cval = settings.cval * divisor
    if settings.fills and not (0 <= cval <= _HIGHEST and abs(cval - round(cval)) <= NEARLY):
        return None
    if divisor == 1.0:
        return settings
    if settings.brightness_range:
        return None
    shift = settings.channel_shift_range * divisor
    return settings.model_copy(update={"cval": cval, "channel_shift_range": shift})


def _changed_by(generator: ImageSettings, feeder: Feeder, order: Order) -> Feeder:
    """Return images changed by a subclass's own methods, which get a seed from each sample's uniforms."""
    first = generator.data_format == "channels_first"

    def change(image: Images, draw: float) -> Images:
        x = (np.moveaxis(image, -1, 0) if first else image).astype(generator.dtype)
        parameters = generator.get_random_transform(x.shape, seed=int(draw * 2**32))
        x = generator.apply_transform(x, parameters)
        return np.moveaxis(x, 0, -1) if first else x

    def change_all(images: Images, draws: npt.NDArray[np.float64]) -> Images:
        return np.stack([change(image, draw) for image, draw in zip(images, draws[:, 0].tolist(), strict=True)])

    return Changed(feeder, order, 1, change_all)


def _made(source: Source, order: Order, workers: int | None, few: int) -> tuple[Feeder, int]:
    if workers is None:
        workers = len(usable_cores()) if order.samples >= few else 0
    return (Workers(source, order, workers), workers) if workers else (InProcessFeeder(source, order), 0)
