"""Views: several images that are made of one, each a field of the sample with steps of its own."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from penstock.protocol.spec.model import Model
from penstock.protocol.spec.operation import Size
from penstock.protocol.spec.operation_table import AnyStep
from penstock.protocol.spec.sequences.recipe import Recipe, by_name
from penstock.protocol.spec.step import Step, keys_of


class View(Model):
    """An image of each sample, made by steps of its own. Its field is called NAME.

    `transform.steps` come first, the same for all views; then those of the view. Their random numbers are the view's
    own: they depend on its name, and on no other view.
    """

    count: int = Field(default=1, ge=1, le=64)
    """How many such images a sample has: with more than one, the fields are called NAME_1, NAME_2 and so on, and each
    draws random numbers of its own."""
    recipe: Annotated[Recipe | None, BeforeValidator(by_name)] = Field(
        default=None, exclude_if=lambda recipe: recipe is None
    )
    """A well-known sequence of steps that goes before the view's `steps`, such as `"simclr"`."""
    steps: Annotated[tuple[AnyStep, ...], Field(max_length=256)] = Field(default=(), exclude_if=lambda steps: not steps)
    """Changes of the image, in this order, each a table as in `transform.steps`."""

    @model_validator(mode="after")
    def _recipe_is_of_steps(self) -> Self:
        if self.recipe is not None and not self.recipe.steps:
            raise ValueError(f"recipe = {self.recipe.name!r} is no sequence of steps: give it as transform.recipe")
        return self

    @cached_property
    def all_steps(self) -> tuple[Step, ...]:
        """The steps of the recipe, and then `steps`."""
        return (*(self.recipe.steps if self.recipe is not None else ()), *self.steps)

    def fields(self, name: str) -> tuple[str, ...]:
        """Return the names of the view's fields."""
        return (name,) if self.count == 1 else tuple(f"{name}_{number}" for number in range(1, self.count + 1))


@dataclass(frozen=True, slots=True)
class ImageSteps:
    """The steps that make one image of a sample, and what names their random numbers."""

    #: Name of the image's field.
    name: str
    steps: tuple[Step, ...]
    keys: tuple[str, ...]
    #: What goes before the names of each step's generators: of the steps that all images share, nothing.
    scopes: tuple[str, ...]

    def size(self, image: Size | None) -> Size | None:
        """Return the size of the image after the steps; None if it differs. Raises ValueError, naming the step."""
        for step, key in zip(self.steps, self.keys, strict=True):
            try:
                image = step.size_drawn(image)
            except ValueError as error:
                view = f"view {self.name!r}: " if any(self.scopes) else ""
                raise ValueError(f"{view}step {key}: {error}") from None
        return image

    def generators(self) -> Iterator[str]:
        """Yield the name of every generator."""
        for step, key, scope in zip(self.steps, self.keys, self.scopes, strict=True):
            yield from (scope + name for name, _ in step.generators(key))


def check_views(recipe: Recipe | None, steps: tuple[Step, ...], views: Mapping[str, View], *, framed: bool) -> None:
    """Raise ValueError if a transform with these fields cannot have views."""
    if framed:
        raise ValueError("views are made by steps alone: give resize, patch and augment as steps, before the views'")
    of_recipe = recipe.view_tables if recipe is not None else {}
    if recipe is not None and of_recipe and steps:
        raise ValueError(
            f"steps come before views, and the views of recipe {recipe.name!r} begin with the decoded image: leave the "
            "steps out, or write the views out (penstock check prints them)"
        )
    if both := of_recipe.keys() & views.keys():
        raise ValueError(f"views.{min(both)}: the recipe has a view of this name: give it another one")


def image_steps(shared: tuple[Step, ...], views: Mapping[str, View]) -> Iterator[ImageSteps]:
    """Yield how each view's images are made after the steps that all share. Raises ValueError for equal names."""
    keys, taken = tuple(keys_of(shared)), set[str]()
    for name, view in views.items():
        own = tuple(keys_of(view.all_steps))
        for field in view.fields(name):
            if field in taken:
                raise ValueError(f"views.{name}: another view makes a field {field!r}, too: give it another name")
            taken.add(field)
            # No step's generator begins like this: a name without a key of the user's begins with its `op`.
            scopes = ("",) * len(shared) + (f"view/{field}/",) * len(own)
            yield ImageSteps(field, shared + view.all_steps, keys + own, scopes)
