"""Defines what all kinds of target share.

What a target adds to the schema is defined in this folder, so that the sink and the trainers know it without an image
library. `worker/imaging/targets/` loads targets and moves them.
"""

from abc import abstractmethod
from typing import ClassVar

from pydantic import Field

from penstock.protocol.spec.custom import Produced
from penstock.protocol.spec.model import Model
from penstock.protocol.spec.operation import Size

#: Longest name of a target: its fields add a suffix.
MOST_NAME = 48


class Target(Model):
    """A target of each image. The table's name is the name of its field; a kind may add further fields."""

    #: Whether it moves with the image: then each view of an image has a target of its own.
    MOVES: ClassVar[bool] = True
    column: str = Field(min_length=1)
    """Column of the manifest that holds it."""

    @abstractmethod
    def fields(self, name: str, image: Size) -> dict[str, Produced]:
        """Return the fields of a target of this name, in order, for samples whose image has this height and width."""

    @property
    def files_in(self) -> str | None:
        """The folder below the root of the files whose paths the cells hold; None if the cells hold the target."""
        return None


def distinct(classes: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Return the names of classes as they are; for validators. Raises ValueError if there are none, or one twice."""
    if classes is not None and (not classes or len(set(classes)) < len(classes)):
        raise ValueError("name at least one class, and each once; or leave classes out if there are none")
    return classes
