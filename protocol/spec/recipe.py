"""Recipes: well-known sequences of steps, by name."""

from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import Field

from penstock.protocol.spec.model import Model
from penstock.protocol.spec.operation_table import step_models
from penstock.protocol.spec.step import Step

RecipeName = Literal["imagenet-train", "imagenet-eval", "cifar-train", "simclr", "coco-detection", "segmentation"]
#: Size of the samples where the recipe's user gives none.
_SIZES: dict[RecipeName, int] = {
    "imagenet-train": 224,
    "imagenet-eval": 224,
    "cifar-train": 32,
    "simclr": 224,
    "coco-detection": 640,
    "segmentation": 512,
}


class Recipe(Model):
    """A sequence of steps that goes before `steps`. What a name stands for never changes.

    `imagenet-train`: random_resized_crop, flip. `imagenet-eval`: resize by the shorter side (to 8/7 of `size`),
    center_crop. `cifar-train`: random_crop with a padding of 1/8 of `size`, flip. `simclr`: random_resized_crop, flip,
    color_jitter, grayscale, gaussian_blur; a stream with `patches = 2` gets two views of each image. `coco-detection`:
    flip, color_jitter for half of the samples, letterbox. `segmentation`: random_resized_crop of at least a quarter of
    the image, flip.
    """

    name: RecipeName
    """Name of the recipe."""
    size: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Height and width of the samples in pixels; default: 224; for `cifar-train` 32, for `coco-detection` 640, for
    `segmentation` 512."""

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """The steps that the recipe stands for."""
        size, models = self.size or _SIZES[self.name], step_models()
        flip = {"op": "flip", "p": 0.5}
        jitter = {"op": "color_jitter", "brightness": 0.8, "contrast": 0.8, "saturation": 0.8, "hue": 0.2, "p": 0.8}
        blur = {"op": "gaussian_blur", "kernel_size": size // 20 * 2 + 1, "sigma": [0.1, 2.0], "p": 0.5}
        crop = {"op": "random_resized_crop", "size": size}
        # What torchvision's references call "ssd", without its crops.
        light = {"brightness": [0.875, 1.125], "contrast": [0.5, 1.5], "saturation": [0.5, 1.5], "hue": 0.05, "p": 0.5}
        steps: dict[RecipeName, list[dict[str, Any]]] = {
            "imagenet-train": [crop, flip],
            "imagenet-eval": [{"op": "resize", "shorter": round(size * 8 / 7)}, {"op": "center_crop", "size": size}],
            "cifar-train": [{"op": "random_crop", "size": size, "padding": size // 8}, flip],
            "simclr": [crop, flip, jitter, {"op": "grayscale", "p": 0.2}, blur],
            "coco-detection": [flip, {"op": "color_jitter", **light}, {"op": "letterbox", "size": size}],
            "segmentation": [crop | {"scale": [0.25, 1.0]}, flip],
        }
        return tuple(models[step["op"]].model_validate(step) for step in steps[self.name])


def by_name(value: Any) -> Any:  # noqa: ANN401 - not checked yet
    """Return a recipe's name as a table."""
    return {"name": value} if isinstance(value, str) else value
