"""What adapters call differently in numpy, TensorFlow, PyTorch and JAX, for arithmetic on a batch where it lies.

`mixing.py` and `normalize.py` are written once, over these functions. The framework is that of the array: none is
imported unless an array of its own is given.
"""

import importlib
from collections.abc import Sequence
from functools import cache
from typing import Any, Protocol

import numpy as np

from penstock.protocol.errors import SpecError


class Arrays(Protocol):
    """The functions that are needed of a framework; arrays keep to the device that they are on."""

    #: Whether images of the framework usually have their channels before their sides.
    channels_first: bool

    def floats(self, array: Any) -> Any:
        """Return an array as float32."""
        ...

    def like(self, values: Any, array: Any) -> Any:
        """Return float32 values in the type of `array`, if that is a floating-point type."""
        ...

    def cast(self, values: Any, dtype: str) -> Any:
        """Return an array as another type."""
        ...

    def count(self, stop: int, array: Any) -> Any:
        """Return 0 to `stop` - 1 as float32, where `array` lies."""
        ...

    def constant(self, numbers: Any, array: Any) -> Any:
        """Return numbers as float32, where `array` lies."""
        ...

    def roll(self, array: Any) -> Any:
        """Return an array whose rows are the ones before; the first one is the last."""
        ...

    def where(self, condition: Any, first: Any, second: Any) -> Any:
        """Return `first` where a condition holds, `second` elsewhere."""
        ...

    def means(self, array: Any) -> Any:
        """Return the mean of each sample (n, height, width, channels), as (n, 1, 1, 1)."""
        ...

    def roots(self, array: Any) -> Any:
        """Return the square roots."""
        ...

    def reshape(self, array: Any, shape: tuple[int, ...]) -> Any:
        """Return an array in another shape."""
        ...

    def transpose(self, array: Any, axes: Sequence[int]) -> Any:
        """Return an array with its axes in another order."""
        ...

    def product(self, array: Any, matrix: Any) -> Any:
        """Return the product of two float32 matrices, computed in no lower precision."""
        ...


class _Numpy:
    """numpy, and JAX's module of the same functions."""

    channels_first = False

    def __init__(self, module: Any, **precision: Any) -> None:
        self._module, self._precision = module, precision

    def floats(self, array: Any) -> Any:
        return array.astype(np.float32)

    def like(self, values: Any, array: Any) -> Any:
        return values.astype(array.dtype) if self._module.issubdtype(array.dtype, np.floating) else values

    def cast(self, values: Any, dtype: str) -> Any:
        return values.astype(dtype)

    def count(self, stop: int, array: Any) -> Any:
        del array
        return self._module.arange(stop, dtype=np.float32)

    def constant(self, numbers: Any, array: Any) -> Any:
        del array
        return self._module.asarray(numbers, np.float32)

    def roll(self, array: Any) -> Any:
        return self._module.roll(array, 1, axis=0)

    def where(self, condition: Any, first: Any, second: Any) -> Any:
        return self._module.where(condition, first, second)

    def means(self, array: Any) -> Any:
        return self._module.mean(array, axis=(1, 2, 3), keepdims=True)

    def roots(self, array: Any) -> Any:
        return self._module.sqrt(array)

    def reshape(self, array: Any, shape: tuple[int, ...]) -> Any:
        return array.reshape(shape)

    def transpose(self, array: Any, axes: Sequence[int]) -> Any:
        return array.transpose(axes)

    def product(self, array: Any, matrix: Any) -> Any:
        return self._module.matmul(array, matrix, **self._precision)


class _TensorFlow:
    channels_first = False

    def __init__(self, module: Any) -> None:
        self._tf = module

    def floats(self, array: Any) -> Any:
        return self._tf.cast(array, self._tf.float32)

    def like(self, values: Any, array: Any) -> Any:
        return self._tf.cast(values, array.dtype) if array.dtype.is_floating else values

    def cast(self, values: Any, dtype: str) -> Any:
        return self._tf.cast(values, dtype)

    def count(self, stop: int, array: Any) -> Any:
        del array
        return self._tf.range(stop, dtype=self._tf.float32)

    def constant(self, numbers: Any, array: Any) -> Any:
        del array
        return self._tf.constant(numbers, self._tf.float32)

    def roll(self, array: Any) -> Any:
        return self._tf.roll(array, 1, axis=0)

    def where(self, condition: Any, first: Any, second: Any) -> Any:
        return self._tf.where(condition, first, second)

    def means(self, array: Any) -> Any:
        return self._tf.reduce_mean(array, axis=(1, 2, 3), keepdims=True)

    def roots(self, array: Any) -> Any:
        return self._tf.sqrt(array)

    def reshape(self, array: Any, shape: tuple[int, ...]) -> Any:
        return self._tf.reshape(array, shape)

    def transpose(self, array: Any, axes: Sequence[int]) -> Any:
        return self._tf.transpose(array, axes)

    def product(self, array: Any, matrix: Any) -> Any:
        return self._tf.matmul(array, matrix)


class _Torch:
    channels_first = True

    def __init__(self, module: Any) -> None:
        self._torch = module

    def floats(self, array: Any) -> Any:
        return array.to(self._torch.float32)

    def like(self, values: Any, array: Any) -> Any:
        return values.to(array.dtype) if array.is_floating_point() else values

    def cast(self, values: Any, dtype: str) -> Any:
        return values.to(getattr(self._torch, dtype))

    def count(self, stop: int, array: Any) -> Any:
        return self._torch.arange(stop, dtype=self._torch.float32, device=array.device)

    def constant(self, numbers: Any, array: Any) -> Any:
        with self._torch.inference_mode(mode=False):  # it may be kept for calls that record gradients
            return self._torch.tensor(np.asarray(numbers, np.float32), device=array.device)

    def roll(self, array: Any) -> Any:
        return self._torch.roll(array, 1, 0)

    def where(self, condition: Any, first: Any, second: Any) -> Any:
        return self._torch.where(condition, first, second)

    def means(self, array: Any) -> Any:
        return array.mean((1, 2, 3), keepdim=True)

    def roots(self, array: Any) -> Any:
        return array.sqrt()

    def reshape(self, array: Any, shape: tuple[int, ...]) -> Any:
        return array.reshape(shape)

    def transpose(self, array: Any, axes: Sequence[int]) -> Any:
        return array.permute(axes)

    def product(self, array: Any, matrix: Any) -> Any:
        with self._torch.autocast(array.device.type, enabled=False):
            return array @ matrix


def arrays_of(array: Any) -> Arrays:
    """Return the functions of an array's framework. Raises SpecError if it is of none."""
    name = type(array).__module__.partition(".")[0]
    if isinstance(array, np.ndarray):
        name = "numpy"
    return _arrays(name, type(array).__name__)


@cache
def _arrays(name: str, kind: str) -> Arrays:
    if name == "numpy":
        return _Numpy(np)
    if name in ("jax", "jaxlib"):
        return _Numpy(importlib.import_module("jax.numpy"), precision="highest")
    if name == "tensorflow":
        return _TensorFlow(importlib.import_module("tensorflow"))
    if name == "torch":
        return _Torch(importlib.import_module("torch"))
    raise SpecError(f"batches of {name}.{kind}: give arrays of numpy or JAX, or tensors of TensorFlow or PyTorch")
