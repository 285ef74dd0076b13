"""Image iterators as Keras 3's `fit`, `evaluate` and `predict` take them: as a `keras.utils.PyDataset`.

Keras, which is optional and takes seconds to import, is imported here.
"""

import importlib.util
from typing import TypeVar, cast

from penstock.image_data_generator.iterators import ImageIterator

Kind = TypeVar("Kind", bound=ImageIterator)


def for_keras(kind: type[Kind]) -> type[Kind]:
    """Return the class as one that Keras's `fit`, `evaluate` and `predict` take: a `keras.utils.PyDataset` as well.

    Without Keras, the class itself.
    """
    if kind not in _KINDS:
        _KINDS[kind] = _with_keras(kind)
    return cast("type[Kind]", _KINDS[kind])


#: Classes made by `for_keras`, by their base.
_KINDS: dict[type[ImageIterator], type[ImageIterator]] = {}


def _with_keras(kind: type[ImageIterator]) -> type[ImageIterator]:
    if importlib.util.find_spec("keras") is None:
        return kind
    try:
        import keras  # noqa: PLC0415 - takes seconds
    except ImportError:  # its backend is missing, so `fit` cannot be called
        return kind
    base = getattr(keras.utils, "PyDataset", None)
    if base is None:  # Keras 2 takes any iterator, given `steps_per_epoch`
        return kind
    return type(kind.__name__, (kind, base), {"__doc__": kind.__doc__, "__module__": kind.__module__})
