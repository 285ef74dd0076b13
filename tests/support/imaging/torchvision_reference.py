"""What the tests against torchvision share: a step by its settings, its draws, and what both make of a picture."""

import importlib
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image
from support.images import Pixels, picture

from penstock.protocol.spec.operation_table import step_models
from penstock.protocol.spec.step import Float64s, Step
from penstock.worker.imaging.program import Programmer


@lru_cache(maxsize=1)
def _load() -> Any:
    """Import torchvision, also beside the CPU build of torch, which cannot load the compiled operators of its wheel.

    The transforms of PIL images are Python and use none of them, but the import wants to know of two.
    """
    library = None
    if importlib.import_module("torch.version").cuda is None:
        library = importlib.import_module("torch.library").Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library, importlib.import_module("torchvision.transforms.v2")


def functional() -> Any:
    """Return torchvision's functions on images."""
    return transforms().functional


def transforms() -> Any:
    """Return torchvision's transforms."""
    return _load()[1]


def make_step(op: str, **settings: Any) -> Any:
    """Return a step."""
    return step_models()[op].model_validate({"op": op, **settings})


def image(seed: int, height: int, width: int) -> Pixels:
    """Return a picture whose right half is noise, where every difference shows."""
    pixels = picture(seed, seed % 4, height, width)
    noise = np.random.default_rng(seed).integers(0, 256, pixels.shape, np.uint8)
    pixels[:, width // 2 :] = noise[:, width // 2 :]
    return pixels


def applied(step: Step, pixels: Pixels, draws: Float64s | None = None) -> Pixels:
    """Return what a step makes of an image."""
    programmer = Programmer((pixels.shape[0], pixels.shape[1]), 10**8)
    programmer.add(step.actions(programmer.size, np.zeros(step.uniforms) if draws is None else draws))
    return programmer.program().run(pixels)


def pil(pixels: Pixels) -> Image.Image:
    """Return an image as torchvision takes it."""
    return Image.fromarray(pixels)


def drawn(step: Step, count: int, seed: int = 1) -> Float64s:
    """Return uniforms for so many samples."""
    return np.random.default_rng(seed).random((count, step.uniforms))
