"""Steps that apply some of the steps that they hold.

A held step has random numbers of its own, and so has the number by which it competes with the others, its ticket. A
step that is added to `one_of` takes over some samples; all others stay as they were.
"""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from math import lcm
from typing import TYPE_CHECKING, Annotated, Literal, Self

import numpy as np
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from penstock.protocol.spec.operation import Size
from penstock.protocol.spec.step import Action, Float64s, Move, Step, keys_of
from penstock.worker.imaging.operations.parameters import ordered, pair, waiting_time, whole

if TYPE_CHECKING:
    AnyStep = Step

_MAX_STEPS = 64
_Weight = Annotated[float, Field(gt=0, le=1e6)]


class _Choice(Step):
    """A step that holds others. Its numbers are its own, and then of each held step: chance, the step's own, ticket."""

    steps: tuple["AnyStep", ...]
    """The steps to choose from, each a table as in `transform.steps`; its `p` counts once it is chosen."""

    @model_validator(mode="after")
    def _there_is_a_choice(self) -> Self:
        if not 1 <= len(self.steps) <= _MAX_STEPS:
            raise ValueError(f"steps holds {len(self.steps)}: give 1 to {_MAX_STEPS} to choose from")
        return self

    @property
    def own_uniforms(self) -> int:
        """How many numbers `chosen` takes besides the tickets."""
        return 0

    @property
    def uniforms(self) -> int:
        """All of them; `generators` says of which step."""
        return self.own_uniforms + sum(2 + step.uniforms for step in self.steps)

    @property
    def views(self) -> int:
        """As many as its steps make together."""
        return lcm(*(step.views for step in self.steps))

    @property
    def hides_moves(self) -> bool:
        """Whether one of its steps does."""
        return any(step.hides_moves for step in self.steps)

    def of_patch(self, patch: int) -> Self:
        """Return the choice among the steps of this patch."""
        return self.model_copy(update={"steps": tuple(step.of_patch(patch) for step in self.steps)})

    def generators(self, key: str) -> list[tuple[str, int]]:
        """Return its own generator, and of each held step its own and that of the ticket."""
        found = [(key, 1 + self.own_uniforms)]
        for step, name in zip(self.steps, keys_of(self.steps, f"{key}/"), strict=True):
            found += [*step.generators(name), (f"{name}/ticket", 1)]
        return found

    @abstractmethod
    def chosen(self, own: Float64s, tickets: Sequence[float]) -> Sequence[int]:
        """Return the places of the steps that are applied, in order."""

    def actions(self, image: Size, draws: Float64s) -> Sequence[Action]:
        """Return what the chosen steps do, one after the other."""
        held = list(self._draws_of_each(draws))
        actions: list[Action] = []
        for place in self.chosen(draws[: self.own_uniforms], [float(numbers[-1]) for numbers in held]):
            step, numbers = self.steps[place], held[place]
            if numbers[0] < step.p:
                for action in step.actions(image, numbers[1:-1]):
                    actions.append(action)
                    image = action.size(image) if isinstance(action, Move) else image
        return actions

    def _draws_of_each(self, draws: Float64s) -> Iterator[Float64s]:
        at = self.own_uniforms
        for step in self.steps:
            yield draws[at : at + 2 + step.uniforms]
            at += 2 + step.uniforms

    def sizes_after(self, image: Size | None) -> list[Size | None]:
        """Return the size after each of the steps. Raises ValueError if one cannot be applied, and names it."""
        sizes = []
        for step, key in zip(self.steps, keys_of(self.steps), strict=True):
            try:
                sizes.append(step.size_drawn(image))
            except ValueError as error:
                raise ValueError(f"step {key} in it: {error}") from None
        return sizes


class OneOf(_Choice):
    """Apply one of the steps, chosen at random, as torchvision's RandomChoice.

    Each step waits for a time that its ticket stands for, exponentially distributed with the rate of its weight; the
    first one is applied.
    """

    op: Literal["one_of"]
    """Name of the operation."""
    weights: Annotated[tuple[_Weight, ...], Field(min_length=1)] | None = None
    """How often each step is chosen, relative to the others; default: all as often."""

    @model_validator(mode="after")
    def _a_weight_each(self) -> "OneOf":
        if self.weights is not None and len(self.weights) != len(self.steps):
            raise ValueError(
                f"weights = {list(self.weights)} has {len(self.weights)} numbers for {len(self.steps)} steps: give one "
                "for each"
            )
        return self

    def size_after(self, image: Size | None) -> Size | None:
        """Return the size after any of the steps, if it is the same."""
        sizes = set(self.sizes_after(image))
        return sizes.pop() if len(sizes) == 1 else None

    def chosen(self, own: Float64s, tickets: Sequence[float]) -> Sequence[int]:
        """Return the place of the first one."""
        del own
        times = [waiting_time(ticket) / weight for ticket, weight in zip(tickets, self._weights, strict=True)]
        return (times.index(min(times)),)

    @cached_property
    def _weights(self) -> tuple[float, ...]:
        return self.weights or (1.0,) * len(self.steps)


_Count = Annotated[int, Field(ge=0, le=64)]


class SomeOf(_Choice):
    """Apply a random number of the steps, chosen at random: those with the lowest tickets."""

    op: Literal["some_of"]
    """Name of the operation."""
    count: Annotated[tuple[_Count, _Count], BeforeValidator(pair), AfterValidator(ordered)]
    """Least and greatest number of steps, uniform over the whole numbers; a single number gives both."""
    order: Literal["listed", "random"] = "listed"
    """`listed` applies them in the order of `steps`; `random` in random order, which is torchvision's RandomOrder if
    `count` is the number of all steps."""

    @model_validator(mode="after")
    def _there_are_as_many(self) -> "SomeOf":
        if self.count[1] > len(self.steps):
            raise ValueError(f"count = {list(self.count)} exceeds the number of steps, {len(self.steps)}")
        return self

    @property
    def own_uniforms(self) -> int:
        """The number of steps."""
        return 1

    def size_after(self, image: Size | None) -> Size | None:
        """Return the image's size, if no step changes it."""
        return image if all(size == image for size in self.sizes_after(image)) else None

    def chosen(self, own: Float64s, tickets: Sequence[float]) -> Sequence[int]:
        """Return the places of the lowest tickets."""
        count = self.count[0] + whole(self.count[1] - self.count[0] + 1, float(own[0]))
        first = np.argsort(np.array(tickets), kind="stable")[:count].tolist()
        return sorted(first) if self.order == "listed" else first
