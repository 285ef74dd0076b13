"""Arrays of images given to `flow`: checks, subsets, and whether they are 8-bit images in another form.

Workers change 8-bit images, and round what they make to whole levels. Scripts hold images as uint8, as floats of 0
to 255, or divided by 255; all of these are 8-bit images times a factor, and travel as such. Rounding then costs
half a level of 255, as with image files. What has other values, or fewer levels than that (masks of 0 and 1 are
spread over 0 to 255 instead), is left as it is.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.image_data_generator.checks import check_array
from penstock.image_data_generator.files import split_of
from penstock.image_data_generator.targets import Targets
from penstock.protocol.errors import ArgumentError

Images = npt.NDArray[Any]

#: Images examined together, so that temporary floats stay small.
_CHUNK = 512
#: How far (in levels) a float may be from a whole level: a few last bits of float32.
NEARLY = 1e-4
_HIGHEST = 255
#: Images whose highest level is below this have too few levels to be rounded to whole ones.
_FEW = 128


@dataclass(frozen=True, slots=True, eq=False)
class Levels:
    """8-bit images, and their divisor."""

    images: npt.NDArray[np.uint8]
    divisor: float


def eight_bits(images: Images) -> Levels | None:
    """Return images (count, …) as uint8 and a divisor that gives the values back; None if they have other values."""
    if not images.size or images.dtype.kind not in "buif":
        return None
    low, high = images.min(), images.max()
    if not (low >= 0 and high <= _HIGHEST):  # NaN, too
        return None
    if images.dtype.kind == "f":
        factor = _HIGHEST if high <= 1 else 1
    else:
        factor = 1 if high >= _FEW or not high else int(_HIGHEST // high)
    if images.dtype == np.uint8 and factor == 1:
        return Levels(images, 1.0)
    if images.dtype.kind == "f" and factor == 1 and high < _FEW:
        return None
    result = np.empty(images.shape, np.uint8)
    for start in range(0, len(images), _CHUNK):
        exact = images[start : start + _CHUNK] * np.float64(factor)
        levels = np.rint(exact)
        if np.abs(exact - levels).max(initial=0.0) > NEARLY:
            return None
        result[start : start + _CHUNK] = levels
    return Levels(result, float(factor))


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """The arguments of `flow`, checked, and cut to the subset."""

    images: Images
    targets: Targets


def take(x: Any, y: Any, sample_weight: Any, subset: str | None, split: float, *, ignore_class_split: bool) -> Given:
    """Check the arguments of `flow`. Raises ArgumentError and ArgumentTypeError."""
    x, inputs = _inputs(x)
    images = check_array("x", x)
    labels = None if y is None else check_array("y", y, numbers=False)
    weights = None if sample_weight is None else check_array("sample_weight", sample_weight, numbers=False)
    for what, values in (
        ("All of the arrays in `x`", inputs),
        ("`x` (images tensor) and `y` (labels)", [labels]),
        ("`x` (images tensor) and `sample_weight`", [weights]),
    ):
        for each in values:
            if each is not None and len(each) != len(images):  # in Keras's words, which scripts and tests look for
                raise ArgumentError(
                    f"{what} should have the same length, and there are {len(images)} images and an array of shape "
                    f"{each.shape}"
                )
    if part := split_of(subset, split):
        cut = int(len(images) * split)
        if labels is not None and not ignore_class_split:
            _check_classes(labels[:cut], labels[cut:])
        kept = slice(None, cut) if part[0] == 0.0 and subset == "validation" else slice(cut, None)
        images, inputs = images[kept], [values[kept] for values in inputs]
        labels = None if labels is None else labels[kept]
        weights = None if weights is None else weights[kept]
    targets = Targets(labels, inputs=inputs, weights=None if labels is None else weights)
    return Given(images, targets)


def _inputs(x: Any) -> tuple[Any, list[Images]]:
    """Split `(images, more)`, where more is one array or a list of arrays, as Keras reads a tuple or a list."""
    if not isinstance(x, (tuple, list)):
        return x, []
    if len(x) != 2:  # noqa: PLR2004 - a pair
        raise ArgumentError(f"x is a {type(x).__name__} of {len(x)} entries: give an array, or (images, other inputs)")
    more = x[1] if isinstance(x[1], list) else [x[1]]
    return x[0], [check_array("x[1]", each, numbers=False) for each in more]


def _check_classes(one: Images, other: Images) -> None:
    if not np.array_equal(np.unique(one), np.unique(other)):
        raise ArgumentError(  # begins in Keras's words, which scripts and tests look for
            "Training and validation subsets have different number of classes after the split, or other ones: "
            f"{np.unique(one)} and {np.unique(other)}. If x is sorted by class, shuffle it first; or give "
            "ignore_class_split = True"
        )
