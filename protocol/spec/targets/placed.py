"""Says which image each of a stream's targets goes with: each view of an image has targets of its own."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from penstock.protocol.spec.custom import Produced
from penstock.protocol.spec.operation import Size
from penstock.protocol.spec.targets.target import Target


@dataclass(frozen=True, slots=True)
class PlacedTarget:
    """A target as it goes with one image of a sample."""

    #: Its name in the spec, and the name of its field.
    name: str
    field: str
    target: Target
    #: Field of the image that it goes with; of several that it does not move with, the first.
    image: str
    #: Its fields, the first of which has the name `field`.
    fields: Mapping[str, Produced]


def placed_targets(targets: Mapping[str, Target], images: Mapping[str, Size], *, views: bool) -> Iterator[PlacedTarget]:
    """Yield each target with each image, by the images' names and sizes.

    With views, what moves with an image comes once for each: the field's name is that of the view, `_`, and that of the
    target. What moves with none comes once.
    """
    first = next(iter(images))
    for name, target in targets.items():
        for image in images if target.MOVES else (first,):
            field = f"{image}_{name}" if views and target.MOVES else name
            yield PlacedTarget(name, field, target, image, target.fields(field, images[image]))
