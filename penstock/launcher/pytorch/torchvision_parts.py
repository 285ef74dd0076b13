"""The parts of torchvision transforms that have a twin, each with the step that it becomes.

A function takes the transform, reads its settings, and returns steps as tables of a spec; it raises NoTwinError for
settings that no step has.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

Table = dict[str, Any]

#: Pillow's numbers of filters, which torchvision also takes.
_FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}


class NoTwinError(Exception):
    """No step does what a part of the transform does; caught by the translator."""


def several(value: Any) -> list[Any]:
    """Return a number, or a sequence of them, as a list."""
    return list(value) if isinstance(value, Iterable) else [value]


def _filter(part: Any) -> str:
    """Return the filter of a transform. Raises NoTwinError if it differs for tensors."""
    value = getattr(part.interpolation, "value", part.interpolation)
    return str(_FILTERS.get(value, value)).replace("nearest-exact", "nearest")


def _fill(part: Any, name: str = "fill", scale: float = 1.0) -> list[int]:
    """Return the levels that a transform fills with."""
    value = getattr(part, name)
    if isinstance(value, dict | str):
        raise NoTwinError(f"{name} = {value!r}: give levels, one or one for each channel")
    levels = [] if value is None else [float(level) * scale for level in several(value)]
    if any(abs(level - round(level)) > 1e-4 for level in levels):  # noqa: PLR2004 - of a level
        raise NoTwinError(f"{name} = {value!r}: give whole levels")
    return [round(level) for level in levels] or [0]


def _one(value: Any, name: str) -> Any:
    """Return the number that a sequence repeats. Raises NoTwinError if they differ."""
    numbers = several(value)
    if len(set(numbers)) != 1:
        raise NoTwinError(f"{name} = {value!r}: both sides must be alike")
    return numbers[0]


def _resize(part: Any) -> list[Table]:
    sides = [] if part.size is None else several(part.size)
    if len(sides) == 2:  # noqa: PLR2004 - height and width
        return [{"op": "resize", "size": sides, "filter": _filter(part)}]
    limits = {"shorter": sides[0] if sides else None, "longer": part.max_size}
    return [{"op": "resize", "filter": _filter(part), **{key: value for key, value in limits.items() if value}}]


def _random_resized_crop(part: Any) -> list[Table]:
    settings = {"size": list(part.size), "scale": list(part.scale), "ratio": list(part.ratio)}
    return [{"op": "random_resized_crop", "filter": _filter(part), **settings}]


def _random_crop(part: Any) -> list[Table]:
    padding = _margins(part.padding) if part.padding else 0
    settings = {"size": list(part.size), "padding": padding, "pad_if_needed": bool(part.pad_if_needed)}
    return [{"op": "random_crop", "mode": _mode(part), "fill": _fill(part), **settings}]


def _pad(part: Any) -> list[Table]:
    return [{"op": "pad", "padding": _margins(part.padding), "mode": _mode(part), "fill": _fill(part)}]


def _margins(padding: Any) -> int | list[int]:
    """Return padding as one number, two, or four."""
    numbers = [int(number) for number in several(padding)]
    return numbers[0] if len(numbers) == 1 else numbers


def _mode(part: Any) -> str:
    return str(getattr(part.padding_mode, "value", part.padding_mode))


def _rotation(part: Any) -> list[Table]:
    if part.expand or part.center is not None:
        raise NoTwinError("expand and center: rotate about the middle, at the same size")
    return [{"op": "rotate", "degrees": list(part.degrees), "filter": _filter(part), "fill": _fill(part)}]


def _affine(part: Any) -> list[Table]:
    if part.center is not None:
        raise NoTwinError("center: the map is about the middle")
    shear = [float(angle) for angle in part.shear or (0.0, 0.0)]
    step = {"op": "affine", "degrees": list(part.degrees), "filter": _filter(part), "fill": _fill(part)}
    step |= {"translate": list(part.translate or (0.0, 0.0)), "scale": list(part.scale or (1.0, 1.0))}
    return [step | {"shear_x": shear[:2], "shear_y": shear[2:] or [0.0, 0.0]}]


def _perspective(part: Any) -> list[Table]:
    settings = {"distortion_scale": part.distortion_scale, "p": part.p}
    return [{"op": "perspective", "filter": _filter(part), "fill": _fill(part), **settings}]


def _elastic(part: Any) -> list[Table]:
    settings = {"alpha": _one(part.alpha, "alpha"), "sigma": _one(part.sigma, "sigma")}
    return [{"op": "elastic", "filter": _filter(part), "fill": _fill(part), **settings}]


def _color_jitter(part: Any) -> list[Table]:
    amounts = {name: getattr(part, name) for name in ("brightness", "contrast", "saturation", "hue")}
    return [{"op": "color_jitter", **{name: list(pair) for name, pair in amounts.items() if pair is not None}}]


def _blur(part: Any) -> list[Table]:
    sigma = [float(number) for number in several(part.sigma)]
    size = _one(part.kernel_size, "kernel_size")
    return [{"op": "gaussian_blur", "kernel_size": size, "sigma": [sigma[0], sigma[-1]]}]


def erasing(part: Any, unit: float) -> list[Table]:
    """Return the step of RandomErasing; its values are levels if multiplied by `unit`."""
    if part.value is None or isinstance(part.value, str):
        raise NoTwinError("value = 'random': give levels")
    settings = {"scale": list(part.scale), "ratio": list(part.ratio), "p": part.p}
    return [{"op": "random_erasing", "value": _fill(part, "value", unit), **settings}]


def _jpeg(part: Any) -> list[Table]:
    quality = several(part.quality)
    return [{"op": "jpeg", "quality": [int(quality[0]), int(quality[-1])]}]


def _auto_augment(part: Any) -> list[Table]:
    policy = str(getattr(part.policy, "value", part.policy))
    return [{"op": "auto_augment", "policy": policy, "filter": _filter(part), "fill": _fill(part)}]


def _rand_augment(part: Any) -> list[Table]:
    settings = {name: int(getattr(part, name)) for name in ("num_ops", "magnitude", "num_magnitude_bins")}
    return [{"op": "rand_augment", "filter": _filter(part), "fill": _fill(part), **settings}]


def _trivial_augment(part: Any) -> list[Table]:
    bins = {"num_magnitude_bins": int(part.num_magnitude_bins)}
    return [{"op": "trivial_augment", "filter": _filter(part), "fill": _fill(part), **bins}]


def _aug_mix(part: Any) -> list[Table]:
    if part.alpha != 1.0:
        raise NoTwinError(f"alpha = {part.alpha!r}: only 1")
    settings = {"severity": part.severity, "mixture_width": part.mixture_width, "all_ops": bool(part.all_ops)}
    depth = {"chain_depth": part.chain_depth} if part.chain_depth > 0 else {}
    return [{"op": "aug_mix", "filter": _filter(part), "fill": _fill(part), **settings, **depth}]


def _five(part: Any) -> list[Table]:
    del part
    raise NoTwinError("it makes a tuple of images: use five_crop or ten_crop in a spec, where each crop is a sample")


#: By the name of the torchvision transform.
STEPS: dict[str, Callable[[Any], list[Table]]] = {
    "RandomHorizontalFlip": lambda part: [{"op": "flip", "p": part.p}],
    "RandomVerticalFlip": lambda part: [{"op": "flip", "direction": "vertical", "p": part.p}],
    "Resize": _resize,
    "CenterCrop": lambda part: [{"op": "center_crop", "size": list(part.size)}],
    "RandomResizedCrop": _random_resized_crop,
    "RandomCrop": _random_crop,
    "Pad": _pad,
    "FiveCrop": _five,
    "TenCrop": _five,
    "RandomRotation": _rotation,
    "RandomAffine": _affine,
    "RandomPerspective": _perspective,
    "ElasticTransform": _elastic,
    "ColorJitter": _color_jitter,
    "Grayscale": lambda _: [{"op": "grayscale"}],
    "RandomGrayscale": lambda part: [{"op": "grayscale", "p": part.p}],
    "RandomChannelPermutation": lambda _: [{"op": "channel_permutation"}],
    "GaussianBlur": _blur,
    "RandomInvert": lambda part: [{"op": "invert", "p": part.p}],
    "RandomPosterize": lambda part: [{"op": "posterize", "bits": part.bits, "p": part.p}],
    "RandomSolarize": lambda part: [{"op": "solarize", "threshold": math.ceil(part.threshold), "p": part.p}],
    "RandomAutocontrast": lambda part: [{"op": "autocontrast", "p": part.p}],
    "RandomEqualize": lambda part: [{"op": "equalize", "p": part.p}],
    "RandomAdjustSharpness": lambda part: [{"op": "sharpness", "factor": [part.sharpness_factor] * 2, "p": part.p}],
    "RandomErasing": lambda part: erasing(part, 1.0),
    "JPEG": _jpeg,
    "AutoAugment": _auto_augment,
    "RandAugment": _rand_augment,
    "TrivialAugmentWide": _trivial_augment,
    "AugMix": _aug_mix,
}
