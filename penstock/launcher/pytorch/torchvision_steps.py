"""Translates a torchvision transform (v2 or v1) into Penstock's steps, and what PyTorch then does with whole batches.

torchvision is not imported: its classes are recognised by module and name. Only a transform of which every part has a
twin is translated: a step that makes the same pixels of a PIL image, given the same draws. The conversion to floats and
the normalisation are left to the trainer's device (`finish.py`), so that a quarter of the bytes travel.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from penstock.launcher.pytorch import torchvision_parts as parts
from penstock.launcher.pytorch.finish import Finish
from penstock.launcher.pytorch.torchvision_parts import NoTwinError, Table
from penstock.protocol.errors import SpecError
from penstock.protocol.spec.operation_table import step_model

#: What a batch is at a place of the pipeline: PIL images, uint8 tensors, floats from 0 to 1, normalised floats.
_PIL, _LEVELS, _FLOATS, _NORMALIZED = range(4)
#: Parts that make the same of levels as of floats, and of normalised floats: those that only choose pixels.
_ON_FLOATS = ("RandomHorizontalFlip", "RandomVerticalFlip", "CenterCrop", "RandomCrop", "RandomErasing")
_ON_NORMALIZED = ("RandomHorizontalFlip", "RandomVerticalFlip")


def translate(transform: object) -> tuple[list[Table], Finish]:
    """Return a torchvision transform as steps of a spec, and what is left to do with each batch.

    Raises SpecError, which names every part that has no twin.
    """
    translator = _Translator()
    steps = [] if transform is None else translator.steps_of(transform)
    if translator.refused:
        listed = "; ".join(translator.refused)
        raise SpecError(
            f"transform: without a twin among Penstock's steps: {listed}. Leave it out, or apply it to whole batches "
            "in the training loop; or keep the transform as it is: write a function that makes the dataset in a module "
            "of your own, and give penstock.torch.ImportedDataset(that_function)"
        )
    if not steps:
        raise SpecError(
            f"transform = {transform!r}: nothing in it gives images one size, and batches need one: add a step such as "
            "Resize((224, 224)) or RandomResizedCrop(224)"
        )
    return steps, translator.finish


@dataclass
class _Translator:
    """What was translated so far."""

    stage: int = _PIL
    finish: Finish = field(default_factory=Finish)
    #: Parts without a twin, each with the reason.
    refused: list[str] = field(default_factory=list)

    def steps_of(self, part: object) -> list[Table]:
        """Return the steps of a part and all that it holds; notes what has no twin."""
        name = _name(part)
        try:
            if name in ("Compose", "Sequential"):
                return [step for held in _held(part) for step in self.steps_of(held)]
            if name in _CONVERSIONS:
                _CONVERSIONS[name](self, part)
                return []
            self._check_stage(name, part)
            if name in _CHOICES:
                return self._choice(name, part)
            return [_checked(step) for step in self._steps(name, part)]
        except NoTwinError as error:
            self.refused.append(f"{_shown(part)}{f' ({error})' if str(error) else ''}")
            return []

    def _steps(self, name: str, part: Any) -> list[Table]:
        if name not in parts.STEPS:
            raise NoTwinError("" if name else "not one of torchvision's transforms")
        if name == "RandomErasing":
            return parts.erasing(part, 255.0 if self.stage == _FLOATS and self.finish.scale != "keep" else 1.0)
        if name == "Grayscale":
            self.finish.gray = int(part.num_output_channels) == 1  # of three channels that the step makes equal
        return parts.STEPS[name](part)

    def _check_stage(self, name: str, part: Any) -> None:
        """Raise NoTwinError if a part does something else to tensors of this stage than to PIL images."""
        if name not in parts.STEPS and name not in _CHOICES:
            return
        if self.stage == _LEVELS and not getattr(part, "antialias", True):
            raise NoTwinError("without antialias, tensors have other pixels than PIL images: set antialias=True")
        able = {_FLOATS: _ON_FLOATS, _NORMALIZED: _ON_NORMALIZED}.get(self.stage)
        fill: Any = getattr(part, "fill", 0)
        if able is not None and (name not in able or fill):
            where = "ToTensor or ToDtype" if self.stage == _FLOATS else "Normalize"
            raise NoTwinError(f"it follows {where}, and steps change levels: move it before")

    def _choice(self, name: str, part: Any) -> list[Table]:
        """Return the step for a part that applies some of the parts that it holds."""
        stage = self.stage
        held = [self._as_one(self.steps_of(each)) for each in _held(part)]
        if stage != self.stage:
            raise NoTwinError("it holds a conversion: images of one batch would differ in type")
        step: Table
        match name:
            case "RandomApply":
                one = self._as_one([step for step in held if step != _NOTHING])
                step = {"op": "some_of", "steps": [one], "count": 1} if "p" in one else one  # both have a say
                step = step | {"p": float(part.p)}
            case "RandomOrder":
                step = {"op": "some_of", "steps": held, "count": len(held), "order": "random"}
            case _:
                weights = [float(weight) for weight in part.p or [1.0] * len(held)]
                pairs = [(step, weight) for step, weight in zip(held, weights, strict=True) if weight]
                step = {"op": "one_of", "steps": [step for step, _ in pairs], "weights": [each for _, each in pairs]}
        return [_checked(step)]

    @staticmethod
    def _as_one(steps: list[Table]) -> Table:
        """Return one step that applies all of these."""
        if len(steps) == 1:
            return steps[0]
        return {"op": "some_of", "steps": steps, "count": len(steps)} if steps else _NOTHING

    def to_image(self, part: object) -> None:
        """Handle parts that make a uint8 tensor of a PIL image."""
        del part
        self.stage = max(self.stage, _LEVELS)

    def to_tensor(self, part: object) -> None:
        """Handle ToTensor: floats from 0 to 1, by division."""
        del part
        if self.stage == _PIL:
            self.stage, self.finish.scale = _FLOATS, "divide"

    def to_dtype(self, part: Any) -> None:
        """Handle ToDtype and ConvertImageDtype."""
        dtype = str(part.dtype)
        if dtype == "torch.uint8" and self.stage <= _LEVELS:
            return
        if self.stage == _PIL:
            raise NoTwinError("it changes tensors only: put ToImage() before it")
        if dtype != "torch.float32":
            raise NoTwinError("only float32 is made of images: convert the batch in the training loop")
        if self.stage == _LEVELS:
            new_api = ".v2." in type(part).__module__
            self.finish.scale = ("multiply" if new_api else "divide") if getattr(part, "scale", True) else "keep"
            self.stage = _FLOATS

    def normalize(self, part: Any) -> None:
        """Handle Normalize."""
        if self.stage != _FLOATS:
            raise NoTwinError("it follows no ToTensor or ToDtype" if self.stage < _FLOATS else "there are two")
        self.finish.mean, self.finish.std = (tuple(float(x) for x in parts.several(y)) for y in (part.mean, part.std))
        if not all(self.finish.std):
            raise NoTwinError("a std of 0")
        self.stage = _NORMALIZED

    def to_pil(self, part: Any) -> None:
        """Handle ToPILImage."""
        if self.stage > _LEVELS or part.mode is not None:
            raise NoTwinError("it follows ToTensor, or changes the mode")
        self.stage = _PIL

    def to_rgb(self, part: object) -> None:
        """Handle RGB: keep all channels, of which a Grayscale before may have left one."""
        del part
        self.finish.gray = False


def _nothing(translator: _Translator, part: object) -> None:
    """Handle a part that changes nothing here."""
    del translator, part


#: Parts that make no step, and what handles them.
_CONVERSIONS: dict[str, Callable[[_Translator, Any], None]] = {
    "ToTensor": _Translator.to_tensor,
    "PILToTensor": _Translator.to_image,
    "ToImage": _Translator.to_image,
    "ToDtype": _Translator.to_dtype,
    "ConvertImageDtype": _Translator.to_dtype,
    "Normalize": _Translator.normalize,
    "ToPILImage": _Translator.to_pil,
    "ToPureTensor": _nothing,
    "Identity": _nothing,
    "RGB": _Translator.to_rgb,
}
_CHOICES = ("RandomApply", "RandomChoice", "RandomOrder")
#: A step that changes nothing, for a choice that may do nothing.
_NOTHING: Table = {"op": "solarize", "threshold": 256}


def _name(part: object) -> str:
    """Return the name of a torchvision transform, or of torch's Sequential; empty for anything else."""
    kind = type(part)
    ours = kind.__module__.startswith("torchvision.transforms.") or kind.__module__ == "torch.nn.modules.container"
    return kind.__name__ if ours else ""


def _held(part: Any) -> Iterator[object]:
    """Yield the parts that a container holds."""
    held: Iterable[object] = part if _name(part) == "Sequential" else part.transforms
    return iter(held)


def _shown(part: object) -> str:
    """Return a part as text of one line."""
    text = " ".join(repr(part).split())
    return text if len(text) <= 120 else f"{text[:117]}..."  # noqa: PLR2004 - characters


def _checked(step: Table) -> Table:
    """Return a step that its model accepts. Raises NoTwinError."""
    try:
        step_model(step["op"]).model_validate(step)
    except ValidationError as error:
        first = error.errors()[0]
        raise NoTwinError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    return step
