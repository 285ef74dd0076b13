"""Further images: decodes their files, checks their size, and makes them by the programs of the samples."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from penstock.protocol.errors import ItemError
from penstock.protocol.plan import StreamPlan
from penstock.protocol.spec.operation import Pixels, Size
from penstock.protocol.spec.step import LevelStep, Move, PixelStep, Step
from penstock.protocol.spec.targets.image import ImageTarget
from penstock.protocol.wire import Array
from penstock.worker.imaging.decode import Decoder
from penstock.worker.imaging.program import Program
from penstock.worker.imaging.steps import Steps
from penstock.worker.imaging.targets.base import LoadedTarget, TargetLoader
from penstock.worker.imaging.targets.cells import shown

#: The modules of Penstock's steps that change colours alone.
_COLOR_STEPS = "penstock.worker.imaging.operations.color."


class ImageLoader(TargetLoader):
    """Loads further images."""

    def __init__(self, target: ImageTarget, plan: StreamPlan) -> None:
        """Take the target's fields in the spec, and the stream's plan."""
        transform = plan.settings.transform
        self._colors = target.colors == "own"
        self._decoder = Decoder(
            target.color, exif_orientation=transform.exif_orientation, max_megapixels=transform.max_megapixels
        )

    def load(self, cell: str, content: bytes | ItemError | None, image: Size) -> LoadedTarget:
        """Return the further image of an image."""
        if isinstance(content, ItemError):
            raise ItemError(f"{shown(cell)!r}: {content}") from content
        try:
            pixels = self._decoder.decode(content or b"")
        except ItemError as error:
            raise ItemError(f"image {shown(cell)!r}: {error}") from error
        if pixels.shape[:2] != image:
            raise ItemError(
                f"image {shown(cell)!r}: has {pixels.shape[1]} × {pixels.shape[0]} pixels (width × height), and its "
                f"counterpart {image[1]} × {image[0]}"
            )
        return _Image(pixels, colors=self._colors)


class _Image(LoadedTarget):
    """The further image of one image."""

    def __init__(self, pixels: Pixels, *, colors: bool) -> None:
        self._pixels, self._colors = pixels, colors

    def write(self, program: Program, out: Sequence[Array], row: int) -> None:
        """Write the image as the program makes it."""
        if not self._colors:
            moves = tuple(action for action in program.actions if isinstance(action, Move))
            program = Program(program.window, moves, program.size, program.image)
        np.copyto(out[0][row], program.run(self._pixels))


def own_colors(plan: StreamPlan, image: int, name: str) -> Steps:
    """Return the steps of one of a sample's images with the same geometry, and colours of this further image alone."""
    transform = plan.settings.transform
    counterpart = transform.images[image]
    keys = (
        f"{key}/{name}" if _is_color(step) else key
        for step, key in zip(counterpart.steps, counterpart.keys, strict=True)
    )
    return Steps.of(replace(counterpart, keys=tuple(keys)), plan.seed, int(transform.max_megapixels * 1e6))


def _is_color(step: Step) -> bool:
    """Return whether a step never moves pixels."""
    return isinstance(step, PixelStep | LevelStep) or type(step).__module__.startswith(_COLOR_STEPS)
