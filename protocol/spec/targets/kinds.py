"""The kinds of target by name."""

from typing import Annotated

from pydantic import Field

from penstock.protocol.spec.targets.boxes import BoxesTarget
from penstock.protocol.spec.targets.mask import MaskTarget
from penstock.protocol.spec.targets.target import Target

#: The models by their `kind`.
KINDS: dict[str, type[Target]] = {"boxes": BoxesTarget, "mask": MaskTarget}
AnyTarget = Annotated[BoxesTarget | MaskTarget, Field(discriminator="kind")]
