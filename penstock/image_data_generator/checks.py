"""Checks arguments of an `ImageDataGenerator` and of its methods at once; errors quote the value."""

import math
import operator
import os
import reprlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.protocol.errors import ArgumentError, ArgumentTypeError

Images = npt.NDArray[Any]
#: Parameters of a change that are numbers, and those that may be None, too.
_PARAMETERS, _OPTIONAL = ("theta", "tx", "ty", "shear", "zx", "zy"), ("channel_shift_intensity", "brightness")


def check_workers(workers: Any, pool: Any = None) -> int | None:
    """Return the number of worker processes, None for the default. Raises ArgumentError and ArgumentTypeError."""
    if pool is not None:
        raise ArgumentTypeError(
            f"pool = {pool!r}: Penstock starts and stops its own processes; give workers = N instead (0: this process)"
        )
    if workers is None:
        return None
    if isinstance(workers, bool) or not isinstance(workers, (int, np.integer)) or workers < 0:
        raise ArgumentError(f"workers = {workers!r}: give a number of processes, 0 for this process, or None")
    return int(workers)


def is_number(value: Any) -> bool:
    """Return whether this is a number as Python and numpy have them."""
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def check_number(name: str, value: Any, otherwise: str = "") -> None:
    """Raise ArgumentError unless this is, or can be made, a finite number; text cannot."""
    try:
        fine = not isinstance(value, (str, bytes)) and np.ndim(value) == 0 and math.isfinite(float(value))
    except (TypeError, ValueError, OverflowError):
        fine = False
    if not fine:
        raise ArgumentError(f"{name} = {reprlib.repr(value)}: give a finite number{otherwise}")


def check_whole(name: str, value: Any, least: int, most: int = 2**63 - 1) -> int:
    """Return a whole number of this range. Raises ArgumentError."""
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if number < least:
        raise ArgumentError(f"{name} = {value!r}: give a whole number of at least {least}")
    if number > most:
        raise ArgumentError(f"{name} = {value!r}: give at most {most}")
    return number


def check_pair(name: str, value: Any, otherwise: str = "") -> Any:
    """Return two numbers as a list; None as it is, unless there is something `otherwise`. Raises ArgumentError."""
    if value is None and not otherwise:
        return None
    if not isinstance(value, (tuple, list)) or len(value) != 2 or not all(map(is_number, value)):  # noqa: PLR2004
        raise ArgumentError(f"{name} = {value!r}: give two numbers{otherwise}, lowest and highest")
    return list(value)


def check_array(name: str, value: Any, *, numbers: bool = True) -> Images:
    """Return the argument as an array, not copied if it is one. Raises ArgumentError and ArgumentTypeError."""
    try:
        array = np.asarray(value)
    except ValueError as error:  # lists of unequal lengths
        raise ArgumentError(f"{name} = {reprlib.repr(value)} cannot be made one array: {error}") from None
    if not array.ndim:
        raise ArgumentTypeError(f"{name} = {reprlib.repr(value)}: give an array")
    if numbers and array.dtype.kind not in "buif":
        raise ArgumentTypeError(f"{name} has elements of type {array.dtype}: give an array of numbers")
    return array


def check_image(value: Any) -> Images:
    """Return an image as an array. Raises ArgumentError unless it has rank 3."""
    x = check_array("x", value)
    if x.ndim != 3:  # noqa: PLR2004 - the rank of an image
        raise ArgumentError(f"an image has rank 3, and this array has shape {x.shape}")
    return x


def check_shape(value: Any) -> tuple[int, ...]:
    """Return the shape of an image. Raises ArgumentTypeError."""
    try:
        shape = tuple(operator.index(side) for side in value)
    except TypeError:
        shape = ()
    if len(shape) < 2:  # noqa: PLR2004 - height and width
        raise ArgumentTypeError(f"img_shape = {value!r}: give the shape of an image, such as (height, width, channels)")
    return shape


def check_parameters(value: Any) -> Mapping[str, Any]:
    """Return the parameters of a change. Raises ArgumentError and ArgumentTypeError."""
    if not isinstance(value, Mapping):
        raise ArgumentTypeError(
            f"transform_parameters = {reprlib.repr(value)}: give a dict, such as get_random_transform returns"
        )
    for name in (*_PARAMETERS, *_OPTIONAL):
        number = value.get(name)
        if number is not None or (name in _PARAMETERS and name in value):
            check_number(f"transform_parameters[{name!r}]", number)
    return value


def check_folder(name: str, value: Any) -> str:
    """Return the path of a folder, which need not be there. Raises ArgumentTypeError."""
    try:
        folder = os.fspath(value)
    except TypeError:
        folder = None
    if not isinstance(folder, str):
        raise ArgumentTypeError(f"{name} = {reprlib.repr(value)}: give the path of a folder")
    return folder


def check_classes(classes: Any) -> list[str] | None:
    """Return the names of classes, None if none are given. Raises ArgumentTypeError."""
    if classes is None:
        return None
    names = None if isinstance(classes, str) or not isinstance(classes, Iterable) else list(classes)
    if names is None or not all(isinstance(name, str) for name in names):
        raise ArgumentTypeError(f"classes = {reprlib.repr(classes)}: give a list of the names of classes, as text")
    return names or None


def check_choice(name: str, value: Any, choices: tuple[Any, ...]) -> None:
    """Raise ArgumentError unless the value is one of the choices."""
    if value not in choices:
        raise ArgumentError(f"{name} = {value!r}: give one of {', '.join(map(repr, choices))}")
