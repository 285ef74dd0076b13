"""The two parts of a kind of target: its loader, and the loaded target of an item, which each sample moves."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from penstock.protocol.errors import ItemError
from penstock.protocol.spec.operation import Size
from penstock.protocol.wire import Array
from penstock.worker.imaging.program import Program

#: What the visible fraction of a whole outline may lack by rounding.
ROUNDING = 1e-6
#: How far (pixels) a place may lie outside of its image: tools round. It is moved to the edge.
SLACK = 1.0


class LoadedTarget(ABC):
    """A target of one item."""

    @abstractmethod
    def write(self, program: Program, out: Sequence[Array], row: int) -> None:
        """Write the target, as `program` moves it, into row `row` of its fields, in the order of the spec's kind."""


class TargetLoader(ABC):
    """Loads a kind of target; it is made of the kind's fields in the spec."""

    @abstractmethod
    def load(self, cell: str, content: bytes | ItemError | None, image: Size) -> LoadedTarget:
        """Return the target of an image of this size, from its cell and, if the cell names a file, from its content.

        Raises ItemError, which quotes the value that is wrong.
        """
