"""The spec's transform: what a worker makes of an image."""

import math
from collections import Counter
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from penstock.protocol.spec.augment import Augment
from penstock.protocol.spec.axes import CHANNELS, Axes
from penstock.protocol.spec.custom import Custom
from penstock.protocol.spec.manipulation import Manipulations, largest
from penstock.protocol.spec.model import AsSides, Model, Name
from penstock.protocol.spec.normalize import Normalize
from penstock.protocol.spec.operation import Manipulation, Size
from penstock.protocol.spec.operation_table import AnyStep
from penstock.protocol.spec.sequences.recipe import Recipe, by_name, with_frame
from penstock.protocol.spec.sequences.view import ImageSteps, View, check_views, image_steps
from penstock.protocol.spec.step import Step, keys_of

#: Filters of `resize`: the first six are Pillow's, which widen with the reduction (antialias); the others OpenCV's.
Filter = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos", "area", "linear", "cubic"]


class Resize(Model):
    """Resize the decoded image, before patches are cut."""

    height: int = Field(ge=1, le=65_535)
    """Height in pixels."""
    width: int = Field(ge=1, le=65_535)
    """Width in pixels."""
    filter: Filter = "bilinear"
    """Resampling filter."""
    fit: Literal["stretch", "cover"] = "stretch"
    """`stretch` ignores the aspect ratio; `cover` keeps it, and cuts what sticks out evenly from both sides."""
    dct_scaling: bool = False
    """Decode a JPEG at 1/2, 1/4 or 1/8 of its size where that is no smaller than `height` × `width`, and resize from
    there: faster, with slightly other pixels (docs/decoding.md says by how much)."""


class Patch(Model):
    """Cut patches from the (resized) image."""

    kind: Literal["center", "random", "scattered", "grid"] = "center"
    """`center`: one; `random`: uniform over all offsets; `scattered`: random, but no two of an item overlap; `grid`:
    rows × columns, evenly spaced, edge to edge."""
    height: int = Field(ge=1, le=65_535)
    """Height in pixels."""
    width: int = Field(ge=1, le=65_535)
    """Width in pixels."""
    rows: int = Field(default=1, ge=1)
    """Rows of the grid."""
    columns: int = Field(default=1, ge=1)
    """Columns of the grid."""
    too_small: Literal["quarantine", "pad", "resize"] = "quarantine"
    """What becomes of an image smaller than the patch, or than what any manipulation would make a patch of:
    `quarantine` it; `pad` it, evenly on opposite sides; or `resize` it (bicubic), keeping its aspect ratio, to the
    least size that does."""
    pad_mode: Literal["reflect", "nearest", "constant", "wrap"] = "reflect"
    """How `pad` goes on beyond the edge: `reflect` (dcba|abcd|dcba), `nearest` (aaaa|abcd|dddd), `constant`, `wrap`
    (abcd|abcd|abcd)."""
    pad_value: int = Field(default=0, ge=0, le=255)
    """Value of all channels beyond the edge where `pad_mode` is `constant`; 0 to 255."""


class Transform(Model):
    """What a worker makes of an image."""

    color: Literal["rgb", "gray", "rgba"] = "rgb"
    """Channels of the result: 3, 1, or 4, the fourth being alpha (255 where an image has none). `manipulations` do not
    go with the last."""
    exif_orientation: bool = False
    """Turn the image as its EXIF orientation tag says."""
    partial_decoding: bool = True
    """Decode no more of a large JPEG than its patches need. Pixels are the same, but damage below the lowest patch goes
    unseen, where `false` quarantines such a file (docs/decoding.md). With `false`, a step's `dct_scaling` does
    nothing."""
    resize: Annotated[Resize | None, AsSides] = None
    """Resize first, such as to `{ height = 224, width = 224 }` or `[224, 224]`; without it patches come from the
    full-size image."""
    patch: Annotated[Patch | None, AsSides] = None
    """Cut patches; without it the whole resized image is the sample."""
    manipulations: Manipulations | None = None
    """Labelled changes of the whole image, of which each sample shows one, or all."""
    augment: Augment = Augment()
    """Random changes."""
    recipe: Annotated[Recipe | None, BeforeValidator(by_name)] = Field(
        default=None, exclude_if=lambda recipe: recipe is None
    )
    """A well-known sequence of steps that goes before `steps`, such as `{ name = "imagenet-train", size = 224 }`; or
    only its name."""
    steps: Annotated[tuple[AnyStep, ...], Field(max_length=256)] = Field(default=(), exclude_if=lambda steps: not steps)
    """Changes of each sample, in this order, each a table with `op`, its parameters and `p`: after `resize`, `patch`
    and `augment` where these are given, else of the decoded image."""
    views: dict[Name, View] = Field(default_factory=dict, exclude_if=lambda views: not views)
    """Several images made of each one, by name, in place of `image`: each has steps of its own after `steps`, and a
    size of its own. With a recipe's views, these are further ones."""
    normalize: Normalize | None = None
    """Turn levels into floats, in the worker or in the trainer; without it, `image` holds uint8 levels."""
    custom: tuple[Custom, ...] = ()
    """Functions of your own that change each sample last, in this order."""
    max_megapixels: float = Field(default=100.0, gt=0)
    """Images with more pixels than this (millions) are quarantined before they are decoded; so are WebP and AVIF images
    with more than half of it, and JPEG 2000 images with more than a quarter, because they take more memory."""
    max_file_mb: float = Field(default=256.0, gt=0)
    """Files larger than this (MB, 10^6 bytes) are quarantined unread."""

    @model_validator(mode="before")
    @classmethod
    def _recipe_may_frame(cls, data: Any) -> Any:  # noqa: ANN401 - not checked yet
        return with_frame(data)

    @model_validator(mode="after")
    def _size_is_fixed(self) -> "Transform":
        if self.color == "rgba" and self.manipulations is not None:
            raise ValueError("color = 'rgba' has no manipulations: JPEG knows no alpha; leave one of the two out")
        if not self.framed:
            self._check_unframed()
        if self.all_views:
            check_views(self.recipe, self.steps, self.views, framed=self.framed)
        for image, size in zip(self.images, self.image_sizes, strict=True):
            if size is None:
                where = f"view {image.name!r}: " if self.all_views else ""
                raise ValueError(
                    f"{where}samples need one shape: give resize = {{height, width}}, patch = {{height, width}}, a "
                    'recipe, or a step that makes one of any image, such as { op = "random_resized_crop", size = 224 }'
                )
        if self.resize and self.window.too_small == "quarantine":
            for side, least in zip(("height", "width"), self.least_size, strict=True):
                self._check_side(side, least)
        return self

    @model_validator(mode="after")
    def _changes_fit(self) -> "Transform":
        if self.framed:
            self.augment.check(self.window.height, self.window.width)
        self.augment.check_levels()
        if self.normalize is not None:
            self.normalize.check(CHANNELS[self.color])
            if self.normalize.zca_whitening and len({*self.image_shapes.values()}) > 1:
                raise ValueError(
                    "normalize.zca_whitening has a matrix for one size, and views have several: leave it out"
                )
        return self

    @model_validator(mode="after")
    def _steps_have_their_own_keys(self) -> "Transform":
        for image in self.images:
            for key, count in Counter(image.generators()).items():
                if count > 1:
                    raise ValueError(f"{count} steps have key = {key!r}: give each a key of its own, or leave it out")
        return self

    def _check_unframed(self) -> None:
        for name, default in (("manipulations", None), ("augment", Augment())):
            if getattr(self, name) != default:
                raise ValueError(
                    f"{name} changes samples of one size: give resize = {{height, width}} or patch = {{height, width}} "
                    "for it, or change samples by steps alone"
                )

    def _check_side(self, side: str, least: int) -> None:
        wanted, found = getattr(self.window, side), getattr(self.resize, side)
        if wanted > found:
            raise ValueError(
                f"patch.{side} = {wanted} is larger than resize.{side} = {found}: "
                "make the patch smaller or the resized image larger"
            )
        if least > found:
            raise ValueError(
                f"resize.{side} = {found} is less than the {least} that the manipulations need for samples of "
                f"{self.window.height} × {self.window.width} (height × width): cut smaller patches, resize to a larger "
                'image, or set patch.too_small to "pad" or "resize"'
            )

    @property
    def framed(self) -> bool:
        """Whether `resize` or `patch` give images one size before the steps; else the steps do it."""
        return self.resize is not None or self.patch is not None

    @cached_property
    def window(self) -> Patch:
        """The patch of a framed transform; without one, what is the same: the whole resized image."""
        if self.patch is not None:
            return self.patch
        assert self.resize is not None  # noqa: S101 - _size_is_fixed
        return Patch(height=self.resize.height, width=self.resize.width)

    @cached_property
    def least_size(self) -> Size:
        """Height and width that an image must have so that a patch can be cut under any of the manipulations."""
        patch = self.window.height, self.window.width
        return largest((patch, *(manipulation.least(patch) for manipulation in self._manipulations)))

    def cell(self, image: Size) -> Size:
        """Return how much (height, width) of an image of at least the least size a scattered patch keeps to itself.

        It holds the patch under any of the manipulations, and is never more than the image.
        """
        patch = self.window.height, self.window.width
        return largest((patch, *(manipulation.cell(patch, image) for manipulation in self._manipulations)))

    @property
    def _manipulations(self) -> tuple[Manipulation, ...]:
        return self.manipulations.all if self.manipulations else ()

    def capacity(self, image: Size) -> int:
        """Return the most scattered patches that fit into an image of this size (height, width), none overlapping.

        No arrangement beats the grid: each cell holds a pixel whose row and column are one less than multiples of the
        cell's height and width, no two cells hold the same one, and the image has no more of them.
        """
        cell = self.cell(image)
        return (image[0] // cell[0]) * (image[1] // cell[1])

    @property
    def most_scattered(self) -> float:
        """The most scattered patches of an image, if all are resized to one size; else infinity."""
        if self.resize is None:
            return math.inf
        least = self.least_size
        return self.capacity((max(self.resize.height, least[0]), max(self.resize.width, least[1])))

    @cached_property
    def all_steps(self) -> tuple[Step, ...]:
        """The steps of the recipe, and then `steps`."""
        return (*(self.recipe.steps if self.recipe is not None else ()), *self.steps)

    @cached_property
    def step_keys(self) -> tuple[str, ...]:
        """What names each step's random numbers: its `key`, or its `op` and its number among those without one."""
        return tuple(keys_of(self.all_steps))

    @cached_property
    def all_views(self) -> dict[str, View]:
        """The views of the recipe, and then `views`."""
        tables = self.recipe.view_tables if self.recipe is not None else {}
        return {name: View.model_validate(table) for name, table in tables.items()} | self.views

    @cached_property
    def images(self) -> tuple[ImageSteps, ...]:
        """A sample's images, in order: `image`; one for each manipulation, if it shows them all; or its views."""
        if self.all_views:
            return tuple(image_steps(self.all_steps, self.all_views))
        names = self.manipulations.names if self.manipulations and self.manipulations.every else ("image",)
        return tuple(ImageSteps(name, self.all_steps, self.step_keys, ("",) * len(self.all_steps)) for name in names)

    @property
    def every_step(self) -> tuple[Step, ...]:
        """The steps that all images share, and then those of each view, once."""
        return (*self.all_steps, *(step for view in self.all_views.values() for step in view.all_steps))

    @cached_property
    def image_sizes(self) -> tuple[Size | None, ...]:
        """Height and width of each image after its steps; None if they differ from image to image."""
        size = (self.window.height, self.window.width) if self.framed else None
        return tuple(image.size(size) for image in self.images)

    @cached_property
    def image_shapes(self) -> dict[str, tuple[int, int, int]]:
        """Shape (height, width, channels) of each of a sample's images, by name."""
        sizes = [size for size in self.image_sizes if size is not None]  # all of them: _size_is_fixed
        return {image.name: (*size, CHANNELS[self.color]) for image, size in zip(self.images, sizes, strict=True)}

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape (height, width, channels) of a sample's image, of several of the first."""
        return next(iter(self.image_shapes.values()))

    @property
    def image_names(self) -> tuple[str, ...]:
        """Names of a sample's images, in order."""
        return tuple(image.name for image in self.images)

    @property
    def image_axes(self) -> Axes:
        """Axes of a sample's image as it leaves the worker."""
        normalize = self.normalize
        turned = normalize is not None and normalize.where == "worker" and normalize.data_format == "channels_first"
        return "chw" if turned else "hwc"

    def image_field(self, name: str) -> tuple[str, tuple[int, int, int]]:
        """Element type and shape of one of a sample's images as it leaves the worker."""
        normalize, shape = self.normalize, self.image_shapes[name]
        if normalize is None or normalize.where == "trainer":
            return "uint8", shape
        return normalize.dtype, normalize.shape(*shape)
