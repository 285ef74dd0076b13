"""What a step means never changes: the bytes of each operation, pinned across releases."""

from pathlib import Path
from typing import Any

import pytest
from support.imaging.pinning import digests

from penstock.protocol.spec.operation_table import step_models
from penstock.worker.imaging.compiled import loops

#: Samples that a step makes of each image; 2 of all others.
VIEWS = {"five_crop": 5, "ten_crop": 10}
RESIZE = {"op": "resize", "size": [40, 48]}
#: Some steps, and the beginning of the SHA-256 of the samples that they make; every operation is among them.
PINNED: list[tuple[str, list[dict[str, Any]]]] = [
    ("3b4dcc482514b436b6c315f42227d3b6", [RESIZE, {"op": "rand_augment"}]),
    ("d64002aa1d6944a5df4c49ec6aad1d45", [RESIZE, {"op": "timm_rand_augment", "num_ops": 4}]),
    ("e95162ed358e9a123a72f0c8f8f1e554", [RESIZE, {"op": "trivial_augment"}]),
    (
        "02a3660555266543c1fbcfb109a90f57",
        [RESIZE, {"op": "sharpness", "factor": [0, 2]}, {"op": "autocontrast"}, {"op": "equalize", "p": 0.5}],
    ),
    (
        "2dddedfcfb8e4e7788cc996a80ec88ca",
        [RESIZE, {"op": "color_jitter", "brightness": 0.5, "contrast": 0.5, "saturation": 0.5, "hue": 0.2}],
    ),
    (
        "5d9a9971998095255a37f17ff089f106",
        [RESIZE, {"op": "gaussian_blur", "kernel_size": 9}, {"op": "grayscale", "p": 0.5}],
    ),
    ("7393992bcd4ab8c0fb5290a1f81a4147", [RESIZE, {"op": "auto_augment", "policy": "cifar10", "filter": "bilinear"}]),
    ("709fd6eb264934293df5012a67824b05", [RESIZE, {"op": "aug_mix"}]),
    (
        "cf2cc92d8f2f4a6c5fb3f909a5d04f10",
        [
            RESIZE,
            {"op": "one_of", "steps": [{"op": "invert"}, {"op": "gamma", "gamma": [0.5, 2]}], "weights": [1, 2]},
            {"op": "some_of", "count": [1, 2], "steps": [{"op": "flip"}, {"op": "solarize"}, {"op": "equalize"}]},
        ],
    ),
    (
        "112d09880b6e93d3e9391613e799a0a4",
        [RESIZE, {"op": "jpeg", "quality": [10, 90]}, {"op": "channel_permutation", "p": 0.5}],
    ),
    ("a56009d1276afcda8a11af9bcf065f73", [RESIZE, {"op": "random_erasing", "value": [124, 116, 104]}]),
    (
        "013d52b4956b6f97e5f951ba3dcf4038",
        [RESIZE, {"op": "gamma", "gamma": [0.5, 2]}, {"op": "posterize", "bits": 3, "p": 0.5}],
    ),
    ("6b555901d48622f422cc12e97120bd6d", [RESIZE, {"op": "solarize"}, {"op": "invert", "p": 0.5}]),
    (
        "1ed17bedd465f1e795e8aa543c1c62ed",
        [RESIZE, {"op": "rotate", "degrees": 30, "filter": "bilinear", "fill": [9, 8, 7]}],
    ),
    ("94aa3e5d33e424db750ffe1826548f57", [RESIZE, {"op": "perspective"}]),
    ("254fb6791bce975bfc5ac41a074cec5a", [RESIZE, {"op": "elastic", "alpha": 90, "sigma": 3}]),
    (
        "2c3257cb93c189f4b2aee9b04f461e33",
        [RESIZE, {"op": "affine", "degrees": 9, "translate": [0.1, 0.2], "scale": [0.8, 1.2], "shear_x": [-5, 5]}],
    ),
    ("f3776906a78b3a5cedb46d18b7049527", [RESIZE, {"op": "five_crop", "size": 24}]),
    ("ab6d98c22d8460b6f895721dbeb5b4fa", [RESIZE, {"op": "ten_crop", "size": [21, 30], "vertical_flip": True}]),
    ("55008aa4fb6bdd19b29af2b25a78b26d", [{"op": "center_crop", "size": [70, 30], "fill": 9}]),
    ("5cf12ee5b23ee5bf2cda364782932ded", [{"op": "letterbox", "size": [40, 30]}]),
    ("734df4888e1cee6809f5a172cbff6205", [{"op": "random_resized_crop", "size": 24}, {"op": "flip", "p": 0.5}]),
    (
        "5e8d7327617808047d45084b229e5f88",
        [{"op": "pad", "padding": [1, 2, 3, 4], "mode": "reflect"}, {"op": "random_crop", "size": 40}],
    ),
    (
        "47a8d74c2e23871dc3b8903560febdff",
        [{"op": "resize", "shorter": 30, "longer": 34}, {"op": "center_crop", "size": 28}],
    ),
]


@pytest.mark.parametrize(("expected", "steps"), PINNED, ids=lambda value: str(value)[8:28])
def test_the_bytes_of_steps_are_those_of_earlier_releases(
    expected: str, steps: list[dict[str, Any]], tmp_path: Path
) -> None:
    """Samples equal what the release that introduced the operation made."""
    assert expected == digests(tmp_path, {"steps": steps}, VIEWS.get(steps[-1]["op"], 2))[0]


@pytest.mark.parametrize(("expected", "steps"), PINNED, ids=lambda value: str(value)[8:28])
def test_the_bytes_of_steps_need_no_compiled_loops(
    expected: str, steps: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Samples are the same on a host without a C compiler."""
    monkeypatch.setattr(loops, "COLORS", None)
    monkeypatch.setattr(loops, "AREA", None)
    monkeypatch.setattr(loops, "RESAMPLING", None)
    assert expected == digests(tmp_path, {"steps": steps}, VIEWS.get(steps[-1]["op"], 2))[0]


def test_every_operation_is_pinned() -> None:
    """A new operation needs a line."""
    assert set(step_models()) == {step["op"] for _, steps in PINNED for step in steps}
