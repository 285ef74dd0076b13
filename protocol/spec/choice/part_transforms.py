"""Transforms of a mixture's parts: which parts have one of their own, and that all parts make equal samples.

Samples of all parts stand in one batch, so they have the same fields, of the same types, shapes and meanings. How they
are made is each part's own affair.
"""

from collections.abc import Mapping
from typing import Any, Protocol, TypeVar, runtime_checkable

from pydantic import BaseModel, ValidationError

from penstock.protocol.spec.schema import FieldSchema, SampleSettings, schema_of
from penstock.protocol.spec.source import Source
from penstock.protocol.spec.transform import Transform

_Settings = TypeVar("_Settings", bound=BaseModel)


@runtime_checkable
class OfParts(Protocol):
    """A source of several parts."""

    @property
    def own_transforms(self) -> dict[str, Transform]:
        """The transforms of the parts that have one of their own, by the part's name."""
        ...

    def with_transforms(self, transforms: Mapping[str, Transform]) -> Source:
        """Return the source whose parts of these names have these transforms, and the others none."""
        ...


def own_transforms(source: Source) -> dict[str, Transform]:
    """Return the transforms of the parts that have one of their own, by the part's name; of a mixture only."""
    return source.own_transforms if isinstance(source, OfParts) else {}


def with_own_transforms(source: Source, transforms: Mapping[str, Transform]) -> Source:
    """Return a source whose parts of these names have these transforms, and the others none."""
    return source.with_transforms(transforms) if isinstance(source, OfParts) else source


def with_transform(settings: _Settings, transform: Transform) -> _Settings:
    """Return a stream's settings with another transform, unchecked; nothing that was computed before is taken over."""
    fields = {name: getattr(settings, name) for name in type(settings).model_fields}
    return type(settings).model_construct(settings.model_fields_set, **{**fields, "transform": transform})


def check_part_transforms(settings: Any) -> None:  # noqa: ANN401 - a `Stream`, whose module imports this one
    """Raise ValueError, which names the part, unless the samples of all parts of a stream's mixture are alike."""
    for name, transform in own_transforms(settings.source).items():
        where = f"source.parts.{name}.transform"
        fields = {field: getattr(settings, field) for field in type(settings).model_fields}
        plain = with_own_transforms(settings.source, {})
        try:
            mine = type(settings).model_validate({**fields, "transform": transform, "source": plain})
        except ValidationError as error:
            raise ValueError(f"{where}: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from None
        _check_fields(settings, mine, where)
        _check_meanings(settings.transform, transform, where)


def _check_fields(stream: SampleSettings, mine: SampleSettings, where: str) -> None:
    wanted, made = ({field.name: field for field in schema_of(each)} for each in (stream, mine))
    if list(wanted) != list(made):
        raise ValueError(
            f"{where} makes the fields {', '.join(made)}, and the stream's transform {', '.join(wanted)}: all parts of "
            "a mixture make the same fields"
        )
    for name, field in wanted.items():
        if field != made[name]:
            raise ValueError(
                f"{where} makes {_in_words(made[name])}, and the stream's transform {_in_words(field)}: samples of all "
                "parts have the same types and shapes; let it end with the same size, colors and normalize"
            )


def _in_words(field: FieldSchema) -> str:
    facts = " ".join(filter(None, (field.axes, field.channels)))
    return f"{field.name} {field.dtype} {field.shape}{facts and f' ({facts})'}"


def _check_meanings(stream: Transform, mine: Transform, where: str) -> None:
    """Refuse what a trainer or a viewer could not tell apart, since it reads the stream's transform."""
    meanings = {
        'normalize, with where = "trainer",': _at_trainer,
        "manipulations' names": _manipulations,
        "the recipe's mixing of batches": _mixing,
    }
    for what, meaning in meanings.items():
        if meaning(stream) != meaning(mine):
            raise ValueError(
                f"{where}: {what} must be that of the stream's transform: {meaning(stream)!r}, and not "
                f"{meaning(mine)!r}; trainers treat whole batches, in which samples of all parts are"
            )


def _at_trainer(transform: Transform) -> dict[str, Any] | None:
    normalize = transform.normalize
    return None if normalize is None or normalize.where == "worker" else normalize.model_dump(exclude_defaults=True)


def _manipulations(transform: Transform) -> tuple[str, ...]:
    return transform.manipulations.names if transform.manipulations else ()


def _mixing(transform: Transform) -> dict[str, float]:
    return transform.recipe.mixing if transform.recipe else {}
