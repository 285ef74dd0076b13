"""The digest of everything that determines a stream's samples. Saved positions and recorded files carry it.

How samples are cut into batches and tasks, memory limits, the places of roots and the names of custom transforms' axes
are left out: they may change between a run and its resumption.

Version 2, today's, leaves out every field that has its default, so that a new optional field changes no fingerprint.
This needs a rule: the meaning of a default never changes. Version 1 held every field; it is still computed, so that a
position or a file of that time is accepted if it belongs to the same stream.
"""

import hashlib
import json
from typing import Any, Literal, get_origin

from pydantic import BaseModel

from penstock.protocol.spec.choice.part_transforms import own_transforms
from penstock.protocol.spec.custom import Produced
from penstock.protocol.spec.spec import Spec, Stream
from penstock.protocol.spec.transform import Transform

_DETERMINING_1: tuple[str, ...] = ("transform", "patches", "mix", "shuffle", "shard")
#: Fields of a stream that came after version 1.
_STREAM_SINCE_1: tuple[str, ...] = ("targets", "sampling", "shard_window")
_DETERMINING: tuple[str, ...] = (*_DETERMINING_1, *_STREAM_SINCE_1)
#: Fields that only name the meaning of numbers, and change none.
_NAMES: dict[type[BaseModel], frozenset[str]] = {Produced: frozenset({"axes", "channels"})}
#: The same, as pydantic excludes them.
_NAMES_1: dict[str, Any] = {"custom": {"__all__": {"produces": {"__all__": {"axes", "channels"}}}}}
#: Fields of `transform` that came after version 1, which cannot express them.
_SINCE_1 = frozenset({"recipe", "steps", "views"})
#: Defaults of `transform` that were others in version 1.
_DEFAULTS_1 = {"max_megapixels": 200.0}
#: How a fingerprint of version 2 begins; one of version 1 is only a digest.
_PREFIX_2 = "2:"


def fingerprint(spec: Spec, stream: Stream, listing_digest: str) -> str:
    """Return the fingerprint of a stream of `spec`, by version 2."""
    determining = {name: _told(getattr(stream, name)) for name in _DETERMINING if _is_told(stream, name)}
    if own := _other_transforms(stream):
        determining["part_transforms"] = {name: _told(transform) for name, transform in own.items()}
    return _PREFIX_2 + _digest([2, spec.seed, determining, listing_digest])


def fingerprint_1(spec: Spec, stream: Stream, listing_digest: str) -> str:
    """Return the fingerprint of the same stream by version 1; empty if that version cannot express its spec."""
    if any(_is_told(stream, name) for name in _STREAM_SINCE_1) or _other_transforms(stream):
        return ""
    if any(_is_told(stream.transform, name) for name in _SINCE_1):
        return ""
    determining = stream.model_dump(mode="json", include={*_DETERMINING_1} - {"transform"})
    determining["transform"] = stream.transform.model_dump(
        mode="json", include=type(stream.transform).model_fields.keys() - _SINCE_1, exclude=_NAMES_1
    )
    determining["transform"] |= {
        name: value for name, value in _DEFAULTS_1.items() if not _is_told(stream.transform, name)
    }
    return _digest([1, spec.seed, determining, listing_digest])


def version_of(fingerprint: str) -> int:
    """Return the version by which a fingerprint was made."""
    return 2 if fingerprint.startswith(_PREFIX_2) else 1


def _other_transforms(stream: Stream) -> dict[str, Transform]:
    """Return the transforms of a mixture's parts that are not the stream's: an equal one makes the same samples."""
    return {name: own for name, own in own_transforms(stream.source).items() if own != stream.transform}


def _told(value: Any) -> Any:  # noqa: ANN401 - whatever a spec can hold
    """Return a value as JSON has it, its models without the fields that have their defaults."""
    if isinstance(value, BaseModel):
        return {name: _told(getattr(value, name)) for name in type(value).model_fields if _is_told(value, name)}
    if isinstance(value, tuple | list):
        return [_told(each) for each in value]
    if isinstance(value, dict):
        return {name: _told(each) for name, each in value.items()}
    return value


def _is_told(model: BaseModel, name: str) -> bool:
    """Return whether a field counts: its value is not the default. A model's one literal, its kind, always counts."""
    if name in _NAMES.get(type(model), ()):
        return False
    field = type(model).model_fields[name]
    is_kind = get_origin(field.annotation) is Literal and len(field.annotation.__args__) == 1  # type: ignore[union-attr]
    if field.is_required() or is_kind:
        return True
    return bool(getattr(model, name) != field.get_default(call_default_factory=True))


def _digest(content: list[Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]
