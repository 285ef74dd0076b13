"""Recipes: well-known sequences of steps, by name."""

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from penstock.protocol.spec.model import Model
from penstock.protocol.spec.operation_table import step_model
from penstock.protocol.spec.step import Step

RecipeName = Literal[
    "imagenet-train",
    "imagenet-eval",
    "cifar-train",
    "simclr",
    "dino",
    "timm-a1",
    "coco-detection",
    "segmentation",
    "keras-imagedatagenerator",
]
#: Size of the samples where the recipe's user gives none.
SIZES: Mapping[RecipeName, int] = {
    "imagenet-train": 224,
    "imagenet-eval": 224,
    "cifar-train": 32,
    "simclr": 224,
    "dino": 224,
    "timm-a1": 224,
    "coco-detection": 640,
    "segmentation": 512,
    "keras-imagedatagenerator": 256,
}
_DINO: RecipeName = "dino"
_LOCAL_VIEWS = 6
#: ImageNet's mean colour, which timm shows outside of the image.
_MEAN = [124, 116, 104]
_Tables = list[dict[str, Any]]
_FLIP = {"op": "flip", "p": 0.5}


class Recipe(Model):
    """A sequence of steps that goes before `steps`. What a name stands for never changes.

    `imagenet-train`: random_resized_crop, flip. `imagenet-eval`: resize by the shorter side (to 8/7 of `size`),
    center_crop. `cifar-train`: random_crop with a padding of 1/8 of `size`, flip. `simclr`: random_resized_crop, flip,
    color_jitter, grayscale, gaussian_blur; a stream with `patches = 2` gets two views of each image. `dino`: the views
    `global_1` and `global_2` of `size`, and `local_1` to `local_6` of 3/7 of it, in place of `image` (Caron et al.,
    ICCV 2021; the sizes, scales and chances of its published code). `timm-a1`: random_resized_crop, flip and
    timm_rand_augment of procedure A1 in "ResNet strikes back" (arXiv 2110.00476); its mixup, CutMix and label smoothing
    are `penstock.MixedFeed(feed, mixup=0.2, cutmix=1.0, label_smoothing=0.1)`. `coco-detection`: flip, color_jitter for
    half of the samples, letterbox. `segmentation`: random_resized_crop of at least a quarter of the image, flip.
    `keras-imagedatagenerator`: `resize` and `augment` in place of steps, as `ImageDataGenerator` does with the settings
    of Keras's own examples; tables `resize` and `augment` in the spec replace the recipe's.
    """

    name: RecipeName
    """Name of the recipe."""
    size: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Height and width of the samples in pixels; default: 224; for `cifar-train` 32, for `coco-detection` 640, for
    `segmentation` 512, for `keras-imagedatagenerator` 256. Of `dino`, those of the global views."""
    local_views: Annotated[int, Field(ge=0, le=64)] | None = None
    """Number of `dino`'s local views; default: 6."""

    @model_validator(mode="after")
    def _local_views_are_dinos(self) -> Self:
        if self.local_views is not None and self.name != _DINO:
            raise ValueError(f"local_views = {self.local_views}: recipe {self.name!r} has none; leave it out")
        return self

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """The steps that the recipe stands for, without those of its views."""
        return tuple(step_model(step["op"]).model_validate(step) for step in self._tables)

    @property
    def view_tables(self) -> dict[str, dict[str, Any]]:
        """The views that the recipe stands for, as the spec would have them; only `dino` has some."""
        if self.name != _DINO:
            return {}
        side = self._side
        first = [*_dino_steps(side, [0.4, 1.0]), _dino_blur(1.0)]
        second = [*_dino_steps(side, [0.4, 1.0]), _dino_blur(0.1), {"op": "solarize", "p": 0.2}]
        local = [*_dino_steps(max(1, round(side * 3 / 7)), [0.05, 0.4]), _dino_blur(0.5)]
        count = _LOCAL_VIEWS if self.local_views is None else self.local_views
        numbered = {f"local_{number}": {"steps": local} for number in range(1, count + 1)}
        return {"global_1": {"steps": first}, "global_2": {"steps": second}, **numbered}

    @property
    def frame(self) -> dict[str, Any]:
        """The tables `resize` and `augment` that the recipe stands for."""
        if self.name != "keras-imagedatagenerator":
            return {}
        augment: dict[str, Any] = {"rotation_range": 40.0, "width_shift_range": 0.2, "height_shift_range": 0.2}
        augment |= {"shear_range": 0.2, "zoom_range": 0.2, "horizontal_flip": True, "axes": "keras"}
        return {"resize": {"height": self._side, "width": self._side, "filter": "nearest"}, "augment": augment}

    @property
    def mixing(self) -> dict[str, float]:
        """What `penstock.MixedFeed` is to be given, since the trainer mixes the samples of a batch."""
        return {"mixup": 0.2, "cutmix": 1.0, "label_smoothing": 0.1} if self.name == "timm-a1" else {}

    @property
    def _side(self) -> int:
        return self.size or SIZES[self.name]

    @property
    def _tables(self) -> _Tables:
        size = self._side
        crop = {"op": "random_resized_crop", "size": size}
        match self.name:
            case "imagenet-train":
                return [crop, _FLIP]
            case "imagenet-eval":
                return [{"op": "resize", "shorter": round(size * 8 / 7)}, {"op": "center_crop", "size": size}]
            case "cifar-train":
                return [{"op": "random_crop", "size": size, "padding": size // 8}, _FLIP]
            case "simclr":
                jitter = {"brightness": 0.8, "contrast": 0.8, "saturation": 0.8, "hue": 0.2, "p": 0.8}
                blur = {"op": "gaussian_blur", "kernel_size": size // 20 * 2 + 1, "sigma": [0.1, 2.0], "p": 0.5}
                return [crop, _FLIP, {"op": "color_jitter", **jitter}, {"op": "grayscale", "p": 0.2}, blur]
            case "timm-a1":
                policy = {"magnitude": 7, "magnitude_std": 0.5, "filter": "bicubic", "fill": _MEAN}
                return [crop | {"filter": "bicubic"}, _FLIP, {"op": "timm_rand_augment", **policy}]
            case "coco-detection":
                # What torchvision's references call "ssd", without its crops.
                light: dict[str, Any] = {"brightness": [0.875, 1.125], "contrast": [0.5, 1.5], "saturation": [0.5, 1.5]}
                light |= {"hue": 0.05, "p": 0.5}
                return [_FLIP, {"op": "color_jitter", **light}, {"op": "letterbox", "size": size}]
            case "segmentation":
                return [crop | {"scale": [0.25, 1.0]}, _FLIP]
            case "dino" | "keras-imagedatagenerator":
                return []


def _dino_steps(size: int, scale: list[float]) -> _Tables:
    """Return what all of DINO's views begin with."""
    jitter = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.2, "hue": 0.1, "p": 0.8}
    crop = {"op": "random_resized_crop", "size": size, "scale": scale, "filter": "bicubic"}
    return [crop, _FLIP, {"op": "color_jitter", **jitter}, {"op": "grayscale", "p": 0.2}]


def _dino_blur(p: float) -> dict[str, Any]:
    """Return DINO's blur, whose kernel reaches three times its greatest standard deviation."""
    return {"op": "gaussian_blur", "kernel_size": 13, "sigma": [0.1, 2.0], "p": p}


def by_name(value: Any) -> Any:  # noqa: ANN401 - not checked yet
    """Return a recipe's name as a table."""
    return {"name": value} if isinstance(value, str) else value


def with_frame(transform: Any) -> Any:  # noqa: ANN401 - not checked yet
    """Return a transform's table with the tables that its recipe stands for, where it has none of its own."""
    if not isinstance(transform, Mapping) or transform.get("recipe") is None:
        return transform
    try:
        recipe = Recipe.model_validate(by_name(transform["recipe"]))
    except ValidationError:  # reported with its place when the transform is validated
        return transform
    return {**recipe.frame, **{name: value for name, value in transform.items() if value is not None}}
