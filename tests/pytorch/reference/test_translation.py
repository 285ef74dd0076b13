"""torchvision transforms become Penstock's steps: every part that has a twin, and in words those that have none."""

import importlib
from typing import Any

import pytest
from support.imaging.torchvision_reference import transforms

from penstock.launcher.pytorch.torchvision_parts import STEPS
from penstock.launcher.pytorch.torchvision_steps import translate
from penstock.protocol.errors import SpecError

pytestmark = pytest.mark.torch

V2 = transforms()
V1: Any = importlib.import_module("torchvision.transforms")
torch: Any = importlib.import_module("torch")

#: Arguments of a transform, which both versions take, and the step that it becomes.
SAME: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("RandomHorizontalFlip", {"p": 0.3}, {"op": "flip", "p": 0.3}),
    ("RandomVerticalFlip", {"p": 0.3}, {"op": "flip", "direction": "vertical", "p": 0.3}),
    ("Resize", {"size": 9}, {"op": "resize", "shorter": 9, "filter": "bilinear"}),
    ("Resize", {"size": 9, "max_size": 12}, {"op": "resize", "shorter": 9, "longer": 12, "filter": "bilinear"}),
    ("Resize", {"size": [9, 8], "interpolation": 3}, {"op": "resize", "size": [9, 8], "filter": "bicubic"}),
    ("CenterCrop", {"size": 9}, {"op": "center_crop", "size": [9, 9]}),
    (
        "RandomResizedCrop",
        {"size": 9, "scale": (0.2, 0.9)},
        {"op": "random_resized_crop", "size": [9, 9], "scale": [0.2, 0.9], "ratio": [3 / 4, 4 / 3]},
    ),
    ("RandomCrop", {"size": 9}, {"op": "random_crop", "size": [9, 9], "padding": 0, "pad_if_needed": False}),
    ("RandomCrop", {"size": 9, "padding": 4, "fill": 7}, {"op": "random_crop", "size": [9, 9], "fill": [7]}),
    ("Pad", {"padding": [1, 2], "padding_mode": "reflect"}, {"op": "pad", "padding": [1, 2], "mode": "reflect"}),
    ("RandomRotation", {"degrees": 30}, {"op": "rotate", "degrees": [-30.0, 30.0], "filter": "nearest", "fill": [0]}),
    (
        "RandomAffine",
        {"degrees": (1, 2), "translate": (0.1, 0.2), "scale": (0.5, 2.0), "shear": (3, 4, 5, 6)},
        {
            "op": "affine",
            "degrees": [1.0, 2.0],
            "translate": [0.1, 0.2],
            "scale": [0.5, 2.0],
            "shear_x": [3.0, 4.0],
            "shear_y": [5.0, 6.0],
        },
    ),
    ("RandomAffine", {"degrees": 5, "shear": 9}, {"op": "affine", "shear_x": [-9.0, 9.0], "shear_y": [0.0, 0.0]}),
    (
        "RandomPerspective",
        {"distortion_scale": 0.2, "p": 0.9},
        {"op": "perspective", "distortion_scale": 0.2, "p": 0.9},
    ),
    ("ElasticTransform", {"alpha": 40.0, "sigma": 4.0}, {"op": "elastic", "alpha": 40.0, "sigma": 4.0}),
    (
        "ColorJitter",
        {"brightness": 0.4, "hue": 0.1},
        {"op": "color_jitter", "brightness": [0.6, 1.4], "hue": [-0.1, 0.1]},
    ),
    ("Grayscale", {"num_output_channels": 3}, {"op": "grayscale"}),
    ("RandomGrayscale", {"p": 0.2}, {"op": "grayscale", "p": 0.2}),
    ("GaussianBlur", {"kernel_size": 5}, {"op": "gaussian_blur", "kernel_size": 5, "sigma": [0.1, 2.0]}),
    ("RandomInvert", {"p": 0.2}, {"op": "invert", "p": 0.2}),
    ("RandomPosterize", {"bits": 3, "p": 0.2}, {"op": "posterize", "bits": 3, "p": 0.2}),
    ("RandomSolarize", {"threshold": 99.5, "p": 0.2}, {"op": "solarize", "threshold": 100, "p": 0.2}),
    ("RandomAutocontrast", {"p": 0.2}, {"op": "autocontrast", "p": 0.2}),
    ("RandomEqualize", {"p": 0.2}, {"op": "equalize", "p": 0.2}),
    ("RandomAdjustSharpness", {"sharpness_factor": 2, "p": 0.2}, {"op": "sharpness", "factor": [2, 2], "p": 0.2}),
    ("RandAugment", {"num_ops": 3, "magnitude": 5}, {"op": "rand_augment", "num_ops": 3, "magnitude": 5}),
    ("TrivialAugmentWide", {}, {"op": "trivial_augment", "num_magnitude_bins": 31, "filter": "nearest"}),
    ("AugMix", {"severity": 2}, {"op": "aug_mix", "severity": 2, "mixture_width": 3, "all_ops": True}),
    (
        "AutoAugment",
        {"policy": V1.AutoAugmentPolicy.CIFAR10, "fill": [1, 2, 3]},
        {"op": "auto_augment", "policy": "cifar10", "fill": [1, 2, 3]},
    ),
]
#: Only in v2.
NEW: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("RandomChannelPermutation", {}, {"op": "channel_permutation"}),
    ("JPEG", {"quality": (30, 60)}, {"op": "jpeg", "quality": [30, 60]}),
    ("RandomErasing", {"p": 0.2, "value": 5}, {"op": "random_erasing", "p": 0.2, "value": [5]}),
]
SIZED = {"op": "resize", "size": [40, 40], "filter": "bilinear"}


@pytest.mark.parametrize(
    ("library", "name", "arguments", "expected"),
    [(V1, *case) for case in SAME] + [(V2, *case) for case in SAME + NEW],
)
def test_a_part_becomes_its_twin(library: Any, name: str, arguments: dict[str, Any], expected: dict[str, Any]) -> None:
    """With the parameters that it was made with, in both versions; the step is one that a spec accepts."""
    steps, finish = translate(library.Compose([library.Resize((40, 40)), getattr(library, name)(**arguments)]))
    assert SIZED == steps[0]
    assert expected == {key: value for key, value in steps[1].items() if key in expected}
    assert "" == finish.scale


def test_every_part_with_a_twin_is_tried() -> None:
    """The table of the tests is that of the translation, but for the two that only have a reason."""
    assert set(STEPS) - {"FiveCrop", "TenCrop"} == {name for name, _, _ in SAME + NEW}


def test_containers_become_choices() -> None:
    """Held parts keep their probabilities; several at once become a step that holds them."""
    jitter, gray, flip = V2.ColorJitter(hue=0.1), V2.RandomGrayscale(p=0.2), V2.RandomHorizontalFlip()
    both = {
        "op": "some_of",
        "steps": [{"op": "color_jitter", "hue": [-0.1, 0.1]}, {"op": "grayscale", "p": 0.2}],
        "count": 2,
    }
    steps, _ = translate(
        V2.Compose(
            [
                V2.Resize((40, 40)),
                V2.RandomApply([jitter], p=0.8),
                V2.RandomApply([jitter, gray], p=0.7),
                V2.RandomApply([gray], p=0.5),
                V2.RandomChoice([flip, V2.Identity()], p=[3.0, 1.0]),
                torch.nn.Sequential(V2.RandomOrder([jitter, gray])),
            ]
        )
    )
    assert {"op": "color_jitter", "hue": [-0.1, 0.1], "p": 0.8} == steps[1]
    assert both | {"p": 0.7} == steps[2]
    assert {"op": "some_of", "steps": [{"op": "grayscale", "p": 0.2}], "count": 1, "p": 0.5} == steps[3]
    assert ("one_of", [0.75, 0.25]) == (steps[4]["op"], steps[4]["weights"])
    assert both | {"order": "random"} == steps[5]


def test_the_end_of_a_transform_is_left_to_the_device() -> None:
    """How levels become floats, and the normalisation; one channel of a grey image."""
    old = V1.Compose([V1.Resize((8, 8)), V1.Grayscale(), V1.ToTensor(), V1.Normalize([0.5], [0.25])])
    finish = translate(old)[1]
    assert ("divide", (0.5,), (0.25,), True) == (finish.scale, finish.mean, finish.std, finish.gray)
    new = [V2.ToImage(), V2.Resize((8, 8)), V2.ToDtype(torch.float32, scale=True), V2.RandomErasing(value=1.0)]
    steps, finish = translate(V2.Compose(new))
    assert ("multiply", ()) == (finish.scale, finish.mean)
    assert [255] == steps[-1]["value"]


@pytest.mark.parametrize(
    ("held", "reason"),
    [
        ([V2.Lambda(abs)], r"Lambda\(.*give penstock\.torch\.ImportedDataset"),
        ([abs], r"<built-in function abs> \(not one of torchvision's transforms\)"),
        ([V2.FiveCrop(4)], r"FiveCrop.*five_crop or ten_crop in a spec"),
        ([V2.ToImage(), V2.Resize(4, antialias=False)], r"antialias=True"),
        ([V2.RandomRotation(9, expand=True)], r"at the same size"),
        ([V2.GaussianBlur((3, 5))], r"kernel_size = \(3, 5\): both sides must be alike"),
        ([V1.ToTensor(), V1.ColorJitter(0.5)], r"ColorJitter.*it follows ToTensor or ToDtype.*move it before"),
        ([V1.ToTensor(), V1.Normalize([0.5], [0.5]), V1.RandomErasing()], r"follows Normalize.*move it before"),
        ([V1.Normalize([0.5], [0.5])], r"it follows no ToTensor"),
        ([V2.ToDtype(torch.float32)], r"put ToImage\(\) before it"),
        ([V2.ToImage(), V2.ToDtype(torch.float16, scale=True)], r"only float32"),
        ([V2.RandomApply([V1.ToTensor()])], r"it holds a conversion"),
        ([V2.AugMix(alpha=0.5)], r"alpha = 0.5: only 1"),
    ],
)
def test_a_part_without_a_twin_is_named(held: list[Any], reason: str) -> None:
    """With what to do instead, and all of them at once."""
    with pytest.raises(SpecError, match=reason):
        translate(V2.Compose([V2.Resize((40, 40)), *held]))
    with pytest.raises(SpecError, match=r"Lambda.*; .*GaussianNoise"):
        translate(V2.Compose([V2.Lambda(abs), V2.GaussianNoise()]))


def test_a_transform_that_gives_no_size_is_refused() -> None:
    """None, and one that is empty."""
    for transform in (V2.Compose([V2.ToImage()]), V2.Identity()):
        with pytest.raises(SpecError, match=r"add a step such as Resize\(\(224, 224\)\)"):
            translate(transform)
