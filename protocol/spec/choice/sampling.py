"""How often the items of a stream come in an epoch, where that is not once each."""

import math
from typing import Literal, Self

from pydantic import Field, model_validator

from penstock.protocol.spec.model import Model


class Sampling(Model):
    """How often each item comes in an epoch.

    An epoch is cut into shares: one for all items, one for each class, or one for all items of one weight. A share is
    filled with its items as evenly as possible: none comes a second time before all have come. Which of them come once
    more than the others is drawn anew each epoch.
    """

    by: Literal["item", "class", "column"] = "item"
    """What the shares go by. `item`: all items alike. `class`: all classes alike, however many items they have, or as
    `weights` says. `column`: each item by the number in the source's `weight_column`."""
    weights: dict[str, float] = Field(default_factory=dict)
    """With `by = "class"`, the share of each class relative to the others, by the class's name; 0 leaves it out. A
    class that is not named has 1."""
    replacement: bool = True
    """Whether an item may come several times in an epoch. false: an epoch that needs an item twice is an error, which
    says how long an epoch may be."""
    repeat: int = Field(default=1, ge=1, le=1_000_000)
    """Length of an epoch as a multiple of the stream's items: with `by = "item"`, how often each of them comes."""
    epoch_items: int | None = Field(default=None, ge=1, lt=2**53)
    """Length of an epoch in items; default: `repeat` times the stream's items."""

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        if self.weights and self.by != "class":
            raise ValueError(f'weights are of classes, and by = {self.by!r}: give by = "class", or leave weights out')
        for name, weight in self.weights.items():
            if not (math.isfinite(weight) and weight >= 0):
                raise ValueError(f"weights: {name!r} = {weight}: a weight is a number of 0 or more")
        if self.repeat > 1 and self.epoch_items is not None:
            raise ValueError(f"repeat = {self.repeat} with epoch_items = {self.epoch_items}: give one of them")
        return self
