"""The table of operations: the one place, besides its own module, that an operation is added to.

The spec's models are built from this table: those of manipulations at once, a step's when a spec first has such a step.
Operations are listed by name and loaded here, because their modules belong to `worker.imaging`, which may import the
spec, and never the reverse. To keep it that way, such a module imports of Penstock at its top only
`protocol.spec.step`, `protocol.spec.operation` and what lies below; a test watches this.
"""

from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from functools import cache
from pkgutil import resolve_name
from types import MappingProxyType
from typing import Annotated, Any, Union

from pydantic import Field, PlainValidator, SerializeAsAny
from pydantic_core import PydanticKnownError

from penstock.protocol.spec.model import Model
from penstock.protocol.spec.operation import Manipulation
from penstock.protocol.spec.step import Step

#: How deep steps may lie in steps, and how deep the one lies that is being read.
_MOST_DEPTH = 100
_depth: ContextVar[int] = ContextVar("depth of steps", default=0)
_OPERATIONS = "penstock.worker.imaging.operations"

#: Manipulations by their `kind`.
MANIPULATIONS: dict[str, str] = {
    "gamma": "gamma:Gamma",
    "jpeg": "jpeg:Jpeg",
    "resize": "rescale:Rescale",
    "rot90": "rotate:Rotate",
}

#: Steps by their `op`.
STEPS: dict[str, str] = {
    "affine": "geometry.affine:RandomAffine",
    "aug_mix": "policies.aug_mix:AugMix",
    "auto_augment": "policies.auto_augment:AutoAugment",
    "autocontrast": "color.enhance:Autocontrast",
    "center_crop": "geometry.center_crop:CenterCrop",
    "channel_permutation": "color.channel_permutation:ChannelPermutation",
    "color_jitter": "color.color_jitter:ColorJitter",
    "elastic": "geometry.elastic:RandomElastic",
    "equalize": "color.enhance:Equalize",
    "five_crop": "geometry.five_crop:FiveCrop",
    "flip": "geometry.flip:Flip",
    "gamma": "color.tables:RandomGamma",
    "gaussian_blur": "color.gaussian_blur:GaussianBlur",
    "grayscale": "color.grayscale:Grayscale",
    "invert": "color.tables:Invert",
    "jpeg": "color.jpeg:RandomJpeg",
    "letterbox": "geometry.letterbox:Letterbox",
    "one_of": "policies.choices:OneOf",
    "pad": "geometry.pad:Pad",
    "perspective": "geometry.perspective:RandomPerspective",
    "posterize": "color.tables:Posterize",
    "rand_augment": "policies.rand_augment:RandAugment",
    "random_crop": "geometry.random_crop:RandomCrop",
    "random_erasing": "color.random_erasing:RandomErasing",
    "random_resized_crop": "geometry.random_resized_crop:RandomResizedCrop",
    "resize": "geometry.resize:Resize",
    "rotate": "geometry.rotate:RandomRotation",
    "sharpness": "color.enhance:Sharpness",
    "solarize": "color.tables:Solarize",
    "some_of": "policies.choices:SomeOf",
    "ten_crop": "geometry.five_crop:TenCrop",
    "timm_rand_augment": "policies.timm_rand_augment:TimmRandAugment",
    "trivial_augment": "policies.trivial_augment:TrivialAugment",
}


def manipulation_models() -> dict[str, type[Manipulation]]:
    """Return the model of every manipulation, by its `kind`."""
    return _loaded(MANIPULATIONS)


def step_models() -> Mapping[str, type[Step]]:
    """Return the model of every step, by its `op`."""
    return MappingProxyType({op: step_model(op) for op in STEPS})


@cache
def step_model(op: str) -> type[Step]:
    """Return the model of a step; its module is imported only now. Raises KeyError."""
    model: type[Step] = resolve_name(f"{_OPERATIONS}.{STEPS[op]}")
    # A step that holds steps names the type of any step.
    model.model_rebuild(_types_namespace={"AnyStep": AnyStep})
    return model


def model_of_step(fields: object) -> type[Step] | None:
    """Return the model of a step that is given as a table; None if it is none."""
    op = fields.get("op") if isinstance(fields, Mapping) else None
    return step_model(op) if isinstance(op, str) and op in STEPS else None


def _as_step(value: object) -> Step:
    """Return a step as the model of its `op`; the errors are those of pydantic's union of all models."""
    if isinstance(value, Step):
        return value
    if not isinstance(value, Mapping):
        raise PydanticKnownError("model_attributes_type")
    fields: dict[str, Any] = dict(value)
    if "op" not in fields:
        raise PydanticKnownError("union_tag_not_found", {"discriminator": "'op'"})
    if (model := model_of_step(fields)) is None:
        known = {"discriminator": "'op'", "tag": str(fields["op"]), "expected_tags": ", ".join(map(repr, STEPS))}
        raise PydanticKnownError("union_tag_invalid", known)
    if _depth.get() >= _MOST_DEPTH:
        raise PydanticKnownError("recursion_loop")
    token = _depth.set(_depth.get() + 1)
    try:
        return model.model_validate(fields)
    finally:
        _depth.reset(token)


#: A step of any kind: `op` decides which model checks the fields. Only models that a spec uses are imported and built.
AnyStep = Annotated[SerializeAsAny[Step], PlainValidator(_as_step)]


def _loaded(table: Mapping[str, str]) -> dict[str, Any]:
    return {name: resolve_name(f"{_OPERATIONS}.{place}") for name, place in table.items()}


def one_of(models: Iterable[type[Model]], field: str) -> object:
    """Return the annotation for one of these models, told apart by a field of theirs."""
    kinds: Any = tuple(models)
    # Built from a table, so it cannot be written as `A | B`; and pydantic refuses a discriminator of one model.
    return Annotated[Union[kinds], Field(discriminator=field)] if len(kinds) > 1 else kinds[0]  # noqa: UP007
