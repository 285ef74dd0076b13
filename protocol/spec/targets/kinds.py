"""The kinds of target by name."""

from typing import Annotated

from pydantic import Field

from penstock.protocol.spec.targets.boxes import BoxesTarget
from penstock.protocol.spec.targets.image import ImageTarget
from penstock.protocol.spec.targets.keypoints import KeypointsTarget
from penstock.protocol.spec.targets.mask import MaskTarget
from penstock.protocol.spec.targets.polygons import OrientedBoxesTarget, PolygonsTarget
from penstock.protocol.spec.targets.target import Target
from penstock.protocol.spec.targets.values import LabelsTarget, NumbersTarget, TextTarget

#: The models by their `kind`.
KINDS: dict[str, type[Target]] = {
    "boxes": BoxesTarget,
    "oriented_boxes": OrientedBoxesTarget,
    "polygons": PolygonsTarget,
    "mask": MaskTarget,
    "keypoints": KeypointsTarget,
    "image": ImageTarget,
    "labels": LabelsTarget,
    "numbers": NumbersTarget,
    "text": TextTarget,
}
AnyTarget = Annotated[
    BoxesTarget
    | OrientedBoxesTarget
    | PolygonsTarget
    | MaskTarget
    | KeypointsTarget
    | ImageTarget
    | LabelsTarget
    | NumbersTarget
    | TextTarget,
    Field(discriminator="kind"),
]
