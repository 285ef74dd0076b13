"""Recipes of every sort, and pipelines that keep decoded images."""

from pathlib import Path
from typing import Any

from support.imaging.pipelines import CROPPED, RESIZED, digest, make_plan

from penstock.protocol.plan import StreamPlan
from penstock.protocol.spec.spec import Cache as CacheSpec
from penstock.worker.imaging.cache.images import Cache, CacheCounts
from penstock.worker.imaging.cache.store import Store
from penstock.worker.imaging.pipeline import Outcome

CENTERED = {"patch": {"kind": "center", "height": 20, "width": 24}}
PADDED = {"patch": {"kind": "center", "height": 200, "width": 60, "too_small": "pad"}}
INVERTED = {"op": "invert"}
TRANSFORMS: dict[str, tuple[dict[str, Any], int]] = {
    "resized": (RESIZED, 1),
    "resized_gray": (RESIZED | {"color": "gray", "augment": {"horizontal_flip": True, "rotation_range": 20.0}}, 1),
    "resized_cover": ({"resize": {"height": 24, "width": 32, "filter": "area", "fit": "cover"}}, 1),
    "resized_levels": (
        {
            "resize": {"height": 24, "width": 32, "filter": "area"},
            "augment": {"channel_shift_range": 40.0, "brightness_range": [0.5, 1.5]},
            "steps": [{"op": "flip"}, INVERTED],
        },
        1,
    ),
    "resized_dct": ({"resize": {"height": 24, "width": 32, "dct_scaling": True}}, 1),
    "resized_cut": (RESIZED | {"patch": {"kind": "random", "height": 20, "width": 24}}, 3),
    "resized_too_small": (RESIZED | {"patch": {"kind": "center", "height": 40, "width": 40, "too_small": "pad"}}, 1),
    "resized_steps": (RESIZED | {"steps": [{"op": "random_crop", "size": 20}, {"op": "flip"}]}, 1),
    "random": (CROPPED, 3),
    "scattered": ({"patch": {"kind": "scattered", "height": 12, "width": 12}}, 4),
    "grid": ({"patch": {"kind": "grid", "height": 20, "width": 24, "rows": 2, "columns": 3}}, 6),
    "centered": (CENTERED | {"exif_orientation": True}, 1),
    "centered_augmented": (CENTERED | {"augment": {"horizontal_flip": True}, "color": "rgba"}, 1),
    "centered_padded": (PADDED, 1),
    "centered_large": ({"patch": {"kind": "center", "height": 300, "width": 300}}, 1),
    "random_large": ({"patch": {"kind": "random", "height": 300, "width": 300}}, 2),
    "manipulated": (
        {
            "patch": {"kind": "center", "height": 20, "width": 24},
            "manipulations": {"choices": [{"kind": "gamma", "value": 0.8}, {"kind": "resize", "value": 0.5}]},
        },
        1,
    ),
    "imagenet_train": ({"recipe": {"name": "imagenet-train", "size": 32}}, 1),
    "imagenet_eval": ({"recipe": {"name": "imagenet-eval", "size": 32}}, 1),
    "cifar_train": (
        {"steps": [{"op": "resize", "size": 36}, INVERTED, {"op": "random_crop", "size": 32}, INVERTED]},
        1,
    ),
    "simclr": ({"recipe": {"name": "simclr", "size": 32}}, 2),
    "dino": ({"recipe": {"name": "dino", "size": 28}}, 1),
    "views": (
        {
            "steps": [{"op": "resize", "shorter": 40}],
            "views": {
                "a": {"count": 2, "steps": [{"op": "random_crop", "size": 20}]},
                "b": {"recipe": "imagenet-eval"},
            },
        },
        2,
    ),
    "normalized": (RESIZED | {"normalize": {"samplewise_std_normalization": True}}, 1),
    "cut_first": ({"steps": [{"op": "center_crop", "size": 300}, {"op": "random_crop", "size": 250}]}, 1),
}


def cached_plan(transform: dict[str, Any], patches: int = 1) -> StreamPlan:
    """Return a plan whose stream asks for a cache."""
    plan = make_plan(transform, patches)
    return plan.model_copy(update={"settings": plan.settings.model_copy(update={"cache": CacheSpec(gb=1.0)})})


def cache_in(folder: Path, settled_s: float = -1e9) -> Cache:
    """Return a cache that keeps files however young they are."""
    return Cache(Store(str(folder), 1_000_000_000), CacheCounts(), settled_s)


def facts(outcome: Outcome) -> tuple[str, list[tuple[int, str, str]]]:
    """Return all bytes of the samples as a digest, and what is said of each failure."""
    return digest(outcome.arrays), [(fault.offset, fault.kind, fault.reason) for fault in outcome.failures]
