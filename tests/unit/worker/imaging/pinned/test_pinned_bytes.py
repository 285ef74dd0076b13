"""What a spec means never changes: the bytes and the settings of many transforms, pinned across releases."""

from pathlib import Path
from typing import Any

import pytest
from support.imaging.pinning import digests

RESIZE = {"height": 24, "width": 32}
SMALL = {"height": 20, "width": 24}
KINDS = [
    {"kind": "gamma", "value": 0.8},
    {"kind": "jpeg", "value": 70, "weight": 2.0},
    {"kind": "resize", "value": 1.5},
    {"kind": "rot90", "turns": 3},
]
GEOMETRY = {
    "rotation_range": 20.0,
    "width_shift_range": 0.1,
    "height_shift_range": [1, 3],
    "shear_range": 8.0,
    "zoom_range": [0.8, 1.3],
    "horizontal_flip": True,
    "vertical_flip": True,
}
LEVELS = {"brightness_range": [0.5, 1.5], "channel_shift_range": 30.0}
PRESET = {"preset": "ieee-sp-cup-2018"}

#: Name: transform, patches an item, SHA-256 of the samples, SHA-256 of the transform as the fingerprint sees it.
PINNED: dict[str, tuple[dict[str, Any], int, str, str]] = {
    "resize": ({"resize": RESIZE}, 1, "ad6f77469380b921c147353f5b3fd37b", "b15690dc13ba4006ed4b78f2738cb143"),
    "gray": (
        {"color": "gray", "resize": RESIZE},
        1,
        "c5d4b38aa39df4c9dd7736ae901acb34",
        "d662aeef8738e78764cedbbc50a3c772",
    ),
    "rgba": (
        {"color": "rgba", "resize": RESIZE, "augment": GEOMETRY | LEVELS},
        1,
        "6c6c35f3c198f68d1d250ed35aaccbea",
        "cc38f8de2503f4de9a265b8ac14f282e",
    ),
    "lanczos-cover": (
        {"resize": RESIZE | {"filter": "lanczos", "fit": "cover"}},
        1,
        "57ca45a4d060281c5d8544e4a040f930",
        "a66ead9c6c58408021d002af5b63feef",
    ),
    "area": (
        {"resize": RESIZE | {"filter": "area"}},
        1,
        "27b39d8b72733013874bb3fb5f9c6d7d",
        "21e53e9842ab4b91841cf42273d98de5",
    ),
    "cubic-cover": (
        {"resize": RESIZE | {"filter": "cubic", "fit": "cover"}},
        1,
        "cd907471e07a4282c5a5491ed66f1992",
        "3d34751d226589ee91c2662a6aade0e6",
    ),
    "dct": (
        {"resize": RESIZE | {"dct_scaling": True}},
        1,
        "940861fb12aca0d2312ff2bbecb4637b",
        "16fc4c38921f1707e709f441c588d8b8",
    ),
    "center": ({"patch": SMALL}, 1, "a396f1204b467eca15dfab751d2171e3", "81711222bb55d51305a6fe85adb2c7c7"),
    "random": (
        {"patch": SMALL | {"kind": "random"}},
        3,
        "91653be559401dd077b41e29dfb8eda9",
        "68a60d0e80e498705e1773d93a3a253d",
    ),
    "scattered": (
        {"patch": SMALL | {"kind": "scattered"}},
        3,
        "6d69873a9120cd1c920f644d576da873",
        "d6dc0ec60f58b788f06b477ea5188217",
    ),
    "grid": (
        {"patch": SMALL | {"kind": "grid", "rows": 2, "columns": 2}},
        4,
        "25fad6deff90b5b0af692df5b5c19d9b",
        "f53a6aeb5d8dbf66ee4078c8b60d357c",
    ),
    "pad-wrap": (
        {"patch": {"height": 90, "width": 85, "too_small": "pad", "pad_mode": "wrap"}},
        1,
        "13350ecdbe9a804de0ac226f86b24c0c",
        "48b7abd153ec44c4f6db3a927374e951",
    ),
    "too-small-resize": (
        {"patch": {"height": 90, "width": 85, "too_small": "resize"}},
        1,
        "a61597be04387386776eb4d19da6a173",
        "c8c2ff739b20478900af3b72f7012565",
    ),
    "preset": (
        {"patch": SMALL | {"kind": "random"}, "manipulations": PRESET},
        4,
        "cc3b099c3c6d823310b5da9b209f22ba",
        "e695526bde5562c031f1c80e5a50272d",
    ),
    "preset-every": (
        {"patch": SMALL | {"kind": "random"}, "manipulations": PRESET | {"every": True}},
        2,
        "70f722384d2be3e8420ad3230dcb2dde",
        "d51ca44b27fd18b871d21b6b88b7db19",
    ),
    "choices": (
        {"patch": SMALL | {"kind": "random"}, "manipulations": {"choices": KINDS, "unchanged_weight": 0.5}},
        6,
        "3a1510abb0a2b47a24697dea12ed5192",
        "282dbe2108f0a18a8a6b362f8f1d1f58",
    ),
    "choices-scattered-gray": (
        {"color": "gray", "patch": SMALL | {"kind": "scattered"}, "manipulations": {"choices": KINDS}},
        2,
        "bd35c8513ff6d45aaacb9e00b5bf4e80",
        "2a76a50e64f6a0f347449053d0fb291b",
    ),
    "preset-and-choices": (
        {
            "resize": {"height": 64, "width": 64},
            "patch": SMALL | {"kind": "random"},
            "manipulations": PRESET | {"choices": KINDS[3:]},
        },
        3,
        "1adcdfa145dae49e16584e2f5b615c3c",
        "6782be110796f075fdf11282720ca852",
    ),
    "geometry": (
        {"resize": RESIZE, "augment": GEOMETRY},
        1,
        "c0ee0882f1bb955a09c13ae48de47b1b",
        "d7d501f0e652b054219074e9239505f8",
    ),
    "geometry-reflect-splines": (
        {"resize": RESIZE, "augment": GEOMETRY | {"fill_mode": "reflect", "interpolation_order": 3}},
        1,
        "ad67f077a275746456f1dcfbf9123108",
        "72dbd3a14a7243d9bc376563fbd9b6d9",
    ),
    "geometry-constant-keras": (
        {"resize": RESIZE, "augment": GEOMETRY | {"fill_mode": "constant", "cval": 7, "axes": "keras"}},
        1,
        "47aab08ceadd8b47ff72c0153e68fa9c",
        "e66aba053edc073c657e67b1ab4ce1bd",
    ),
    "integer-shifts": (
        {"resize": RESIZE, "augment": {"width_shift_range": 4, "height_shift_range": 2.0}},
        1,
        "581cf01d6f6b6e7af17f05b9ce03038b",
        "91c17a569cbcebab84feb11520432041",
    ),
    "levels": (
        {"resize": RESIZE, "augment": LEVELS},
        1,
        "d2dd204775e1c6e09c48123e2eae9fc7",
        "7f4ba9041bf657e24a849c6e0c1a927b",
    ),
    "flips-of-patches": (
        {"patch": SMALL | {"kind": "random"}, "augment": {"horizontal_flip": True, "vertical_flip": True}},
        4,
        "b8c34f32e0d31fa582bd67185f5d2c24",
        "6a35ab50f61cbe3c7bf33691aa8b8f7f",
    ),
    "everything": (
        {
            "patch": SMALL | {"kind": "random"},
            "manipulations": {"choices": KINDS},
            "augment": GEOMETRY | LEVELS,
            "normalize": {"rescale": 0.00392156862745098, "samplewise_std_normalization": True},
        },
        3,
        "73d03efca95c45506b9ae6b4aec83364",
        "b41387660ae2c28b8649eea58d6c63c1",
    ),
    "featurewise-first": (
        {
            "resize": RESIZE,
            "normalize": {
                "mean": [120.0, 110.0, 100.0],
                "std": [60.0],
                "featurewise_std_normalization": True,
                "data_format": "channels_first",
                "dtype": "float16",
            },
        },
        1,
        "71440325c4a94f148bec1a1167d235e8",
        "dd8db4c47a48b7aace42216894e568bd",
    ),
    "flip": (
        {"resize": RESIZE, "steps": [{"op": "flip", "p": 0.5}]},
        1,
        "8b5bbe25d286c014ff915a68d8fdeb46",
        "dd8ccccc7dcdf70baf0296f022043694",
    ),
    "normalize-in-trainer": (
        {"resize": RESIZE, "normalize": {"rescale": 0.5, "where": "trainer"}},
        1,
        "ad6f77469380b921c147353f5b3fd37b",
        "df02426ba4dcdc4bfb90e19ded977063",
    ),
}


@pytest.mark.parametrize("name", PINNED)
def test_the_bytes_and_settings_of_a_transform_are_those_of_earlier_releases(name: str, tmp_path: Path) -> None:
    """Samples and fingerprint of every transform equal what the release that introduced it made."""
    transform, patches, samples, settings = PINNED[name]
    assert (samples, settings) == digests(tmp_path, transform, patches)
