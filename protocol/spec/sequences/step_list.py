"""Lists what a transform does to an image, in order, as if all of it had been written as steps."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from pydantic import BaseModel

from penstock.protocol.spec.sequences.recipe import Recipe
from penstock.protocol.spec.sequences.view import View
from penstock.protocol.spec.step import Step
from penstock.protocol.spec.transform import Transform

_PATCHES = {"center": "center_crop", "random": "random_crop", "scattered": "scattered_crop", "grid": "grid_crop"}
_OF_WARPS = ("rotation_range", "width_shift_range", "height_shift_range", "shear_range", "zoom_range")
_WITH_WARPS = ("fill_mode", "cval", "interpolation_order", "axes")


@dataclass(frozen=True, slots=True)
class ListedStep:
    """One thing that is done to an image."""

    #: The field of the transform that asks for it, such as `resize` or `steps.0`.
    field: str
    #: What is done: the `op` of a step, or a word of the same kind for a field that is not a step.
    op: str
    parameters: dict[str, Any]
    #: Probability that it is done.
    p: float = 1.0
    #: The images of a sample that it is done to, where views have steps of their own; empty: all of them.
    images: str = ""


def list_steps(transform: Transform) -> list[ListedStep]:
    """Return everything that changes the pixels before they are normalised, in order."""
    return [*_before_steps(transform), *_steps(transform)]


def _before_steps(transform: Transform) -> Iterator[ListedStep]:
    if transform.resize is not None:
        size = {"size": [transform.resize.height, transform.resize.width]}
        yield ListedStep("resize", "resize", size | _given(transform.resize, {"height", "width"}))
    if transform.patch is not None:
        size = {"size": [transform.patch.height, transform.patch.width]}
        parameters = size | _given(transform.patch, {"height", "width", "kind"})
        yield ListedStep("patch", _PATCHES[transform.patch.kind], parameters)
    if transform.manipulations is not None:
        manipulations = transform.manipulations
        op = "each_of" if manipulations.every else "one_of"
        yield ListedStep("manipulations", op, {"choices": list(manipulations.names)})
    augment = _given(transform.augment, set())
    if warp := {name: augment[name] for name in (*_OF_WARPS, *_WITH_WARPS) if name in augment}:
        yield ListedStep("augment", "affine", warp)
    for direction in ("horizontal", "vertical"):
        if augment.get(f"{direction}_flip"):
            yield ListedStep("augment", "flip", {"direction": direction}, 0.5)
    for name in ("channel_shift_range", "brightness_range"):
        if name in augment:
            yield ListedStep("augment", name.removesuffix("_range"), {"range": augment[name]})


def _steps(transform: Transform) -> Iterator[ListedStep]:
    yield from _of("", transform.recipe, transform.all_steps)
    of_recipe = transform.recipe.view_tables if transform.recipe is not None else {}
    for names, view in _alike(transform):
        name = names[0]
        fields = [field for each in names for field in transform.all_views[each].fields(each)]
        images = f"{fields[0]} to {fields[-1]}" if len(fields) > 2 else " and ".join(fields)  # noqa: PLR2004
        prefix = "recipe" if name in of_recipe else f"views.{name}"
        for listed in _of(f"{prefix}.", view.recipe, view.all_steps):
            yield replace(listed, field="recipe" if name in of_recipe else listed.field, images=images)


def _alike(transform: Transform) -> Iterator[tuple[list[str], View]]:
    """Yield the views, neighbours with equal steps together, by their names."""
    for _, group in groupby(transform.all_views.items(), key=lambda named: (named[1].recipe, named[1].steps)):
        views = list(group)
        yield [name for name, _ in views], views[0][1]


def _of(prefix: str, recipe: Recipe | None, steps: Sequence[Step]) -> Iterator[ListedStep]:
    of_recipe = len(recipe.steps) if recipe is not None else 0
    for number, step in enumerate(steps):
        field = f"{prefix}recipe" if number < of_recipe else f"{prefix}steps.{number - of_recipe}"
        yield ListedStep(field, step.name, _parameters(step.model_dump(mode="json")), step.p)


def _parameters(dumped: dict[str, Any]) -> dict[str, Any]:
    return {name: _held(value) for name, value in dumped.items() if value is not None and name not in ("op", "p")}


def _held(value: Any) -> Any:  # noqa: ANN401 - of any type that JSON has
    """Return a parameter; if it is a list of steps, with only what says what they do."""
    if isinstance(value, list):
        return [_held(each) for each in value]
    if isinstance(value, dict):
        chance = {} if value["p"] == 1.0 else {"p": value["p"]}
        return {"op": value["op"], **_parameters(value), **chance}
    return value


def _given(model: BaseModel, left_out: set[str]) -> dict[str, Any]:
    """Return the fields that differ from their defaults."""
    return model.model_dump(mode="json", exclude=left_out, exclude_defaults=True)
