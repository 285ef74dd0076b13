"""The target kinds that no step changes: several labels, numbers and text."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from penstock.protocol.spec.custom import Produced
from penstock.protocol.spec.operation import Size
from penstock.protocol.spec.targets.target import Target, distinct


class LabelsTarget(Target):
    """The classes that an image has, any number of them, a list of names or numbers in each cell.

    One field: NAME, uint8 (number of classes): 1 for each class that the image has, 0 for the others. An empty cell is
    an image without classes.
    """

    MOVES: ClassVar[bool] = False
    kind: Literal["labels"]
    """Says that these are labels."""
    classes: tuple[str, ...] = Field(min_length=1, max_length=1_000_000)
    """Names of the classes in label order."""
    separator: str = Field(default="", max_length=8)
    """Text between the names in a cell, such as `";"`. Default: a cell holds a list, as JSON where cells are text."""

    _differ = field_validator("classes")(distinct)

    def fields(self, name: str, image: Size) -> dict[str, Produced]:
        """Return the classes."""
        del image
        return {name: Produced(dtype="uint8", shape=(len(self.classes),))}


class NumbersTarget(Target):
    """A number, or a list of numbers, in each cell: to be predicted, or to go with the image.

    One field: NAME, of the type and shape that are given here. No step changes it. Other shapes, NaN and infinity are
    quarantined, and so are numbers that the type cannot hold.
    """

    MOVES: ClassVar[bool] = False
    kind: Literal["numbers"]
    """Says that these are numbers."""
    dtype: Literal["float32", "float64", "int32", "int64", "uint8"] = "float32"
    """Numpy's name of the type."""
    shape: tuple[Annotated[int, Field(ge=1, le=1_000_000)], ...] = Field(default=(), max_length=7)
    """Shape of the list, such as `[4]`, or `[3, 3]` for a list of lists. Default: a single number."""

    def fields(self, name: str, image: Size) -> dict[str, Produced]:
        """Return the numbers."""
        del image
        return {name: Produced(dtype=self.dtype, shape=self.shape)}


class TextTarget(Target):
    """The text of each cell, such as a caption, as UTF-8; of a cell that holds a number or a list, its JSON.

    Two fields: NAME, uint8 (`max_bytes`), padded with zeros, and NAME_bytes, int32, how many bytes the text has. No
    step changes it. So every column can be passed through to the trainer.
    """

    MOVES: ClassVar[bool] = False
    kind: Literal["text"]
    """Says that this is text."""
    max_bytes: int = Field(default=256, ge=1, le=65_536)
    """Bytes that a sample has room for."""
    too_long: Literal["quarantine", "cut"] = "quarantine"
    """What becomes of an image with a longer text: `quarantine` it, or `cut` the text after its last whole character
    that fits."""

    def fields(self, name: str, image: Size) -> dict[str, Produced]:
        """Return the text and its length."""
        del image
        return {
            name: Produced(dtype="uint8", shape=(self.max_bytes,)),
            f"{name}_bytes": Produced(dtype="int32", shape=()),
        }
