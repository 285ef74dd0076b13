"""Hypothesis strategies for message models, from their annotations: whatever a model allows may be drawn.

Owns the way from an annotation to a strategy. Knows only the annotations that statistics and snapshots use.
"""

import types
import typing
from typing import Any, TypeVar

from hypothesis import strategies as st
from pydantic import BaseModel

Drawn = TypeVar("Drawn", bound=BaseModel)


def drawn(model: type[Drawn], **known: st.SearchStrategy[Any]) -> st.SearchStrategy[Drawn]:
    """Return models with fields as they may be; `known` are the strategies of fields that are to be narrower."""
    fields = {
        name: known.get(name) or _of(info.annotation, tuple(info.metadata)) for name, info in model.model_fields.items()
    }
    return st.fixed_dictionaries(fields).map(lambda values: model(**values))


def _of(annotation: Any, metadata: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        field = arguments[1:]
        return _of(arguments[0], (*field, *(rule for info in field for rule in getattr(info, "metadata", ()))))
    if origin is typing.Literal:
        return st.sampled_from(arguments)
    if origin in (types.UnionType, typing.Union):
        parts: list[st.SearchStrategy[Any]] = [
            st.none() if part is types.NoneType else _of(part, ()) for part in arguments
        ]
        return st.one_of(*parts)
    if origin is tuple:
        return st.lists(_of(arguments[0], ()), max_size=3).map(tuple)
    if origin is dict:
        return st.dictionaries(st.text(max_size=8), _of(arguments[1], ()), max_size=3)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return drawn(annotation)
    return _number(annotation, metadata)


def _number(annotation: Any, metadata: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    bounds = {name: getattr(rule, name) for rule in metadata for name in ("ge", "le", "lt") if hasattr(rule, name)}
    if annotation is int:
        return st.integers(bounds.get("ge"), bounds.get("le", bounds.get("lt", 2**62) - 1))
    if annotation is float:
        return st.floats(bounds.get("ge"), bounds.get("le", 1e12), allow_nan=False)
    if annotation is bool:
        return st.booleans()
    assert annotation is str, annotation
    return st.text(max_size=8)
