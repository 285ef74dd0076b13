"""Every recipe through a whole stack: the same bytes at any number of workers, after kills and after a resumption."""

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from support.imaging.detection import MORE_TARGETS, TARGETS, write_set
from support.streams import Batch, digest, epochs, make_images, run_stack, take

from penstock.launcher.stack import LocalStack
from penstock.protocol.errors import SpecError
from penstock.protocol.spec.sequences.recipe import RecipeName

ANNOTATED = ("coco-detection", "segmentation")
SIZE = 28


def recipe_stream(recipe: str) -> dict[str, Any]:
    """Return a stream of small samples of a recipe, in tasks of two items."""
    stream: dict[str, Any] = {
        "source": {"kind": "directory", "root": "photos"},
        "transform": {"recipe": {"name": recipe, "size": SIZE}},
        "patches": 2 if recipe == "simclr" else 1,
        "mix": 2,
        "batch_size": 5,
        "task_items": 2,
        "window_mb": 0.1,
    }
    if recipe in ANNOTATED:
        stream["source"] = {"kind": "manifest", "root": "scenes", "path": "list.jsonl", "label_column": ""}
        stream["targets"] = TARGETS | MORE_TARGETS
    return stream


def views_stream() -> dict[str, Any]:
    """Return a stream of views whose targets move with each of them."""
    crop = {"op": "random_resized_crop", "size": 16, "scale": [0.4, 1.0]}
    views = {"near": {"count": 2, "steps": [crop, {"op": "rotate", "degrees": 20}]}, "far": {"recipe": "simclr"}}
    return recipe_stream("segmentation") | {"transform": {"steps": [{"op": "flip", "p": 0.5}], "views": views}}


def spec_of(folder: Path) -> dict[str, Any]:
    """Return a spec with a stream for each recipe."""
    make_images(folder / "photos", each=9)
    write_set(folder / "scenes", 14)
    streams = {name: recipe_stream(name) for name in get_args(RecipeName)} | {"views": views_stream()}
    return {
        "seed": 5,
        "roots": {"photos": str(folder / "photos"), "scenes": str(folder / "scenes")},
        "streams": streams,
    }


def two_epochs(stack: LocalStack, names: list[str]) -> dict[str, list[Batch]]:
    """Return two epochs of each stream."""
    found = {}
    for name in names:
        with stack.feed(name) as feed:
            found[name] = epochs(feed, 2)
    return found


@pytest.mark.slow
def test_every_recipe_gives_the_same_bytes(tmp_path: Path) -> None:
    """With 1, 2 and 5 workers; while a worker, the sink and the ventilator are killed; and resumed in mid-epoch."""
    spec = spec_of(tmp_path)
    names = list(spec["streams"])
    with run_stack(spec, 1) as stack:
        reference = two_epochs(stack, names)
    assert {"global_1", "local_6"} <= reference["dino"][0].keys()
    assert {"near_2_mask", "far_boxes"} <= reference["views"][0].keys()
    expected = {name: digest(batches) for name, batches in reference.items()}
    assert len(names) == len(set(expected.values()))
    for workers in (2, 5):
        with run_stack(spec, workers) as stack:
            assert expected == {name: digest(batches) for name, batches in two_epochs(stack, names).items()}
    with run_stack(spec, 2) as stack:
        killed: dict[str, str] = {}
        for number, name in enumerate(names):
            with stack.feed(name) as feed:
                first = take(feed, 2)
                stack.children[("worker-0", "sink", "worker-1", "ventilator")[number % 4]].process.kill()
                killed[name] = digest(first + take(feed, len(reference[name]) - 2))
    assert expected == killed
    resumed: dict[str, str] = {}
    states: dict[str, Any] = {}
    first_of: dict[str, list[Batch]] = {}
    with run_stack(spec, 1) as stack:
        for name in names:
            with stack.feed(name) as feed:
                first_of[name] = take(feed, 3)
                states[name] = feed.state_dict()
    with run_stack(spec, 2) as stack:
        for name in names:
            with stack.feed(name) as feed:
                feed.load_state_dict(states[name])
                resumed[name] = digest(first_of[name] + take(feed, len(reference[name]) - 3))
    assert expected == resumed


@pytest.mark.slow
def test_frameworks_get_every_view(tmp_path: Path) -> None:
    """TensorFlow's and Keras's data sets hold views by name or as tuples; the usual pair is refused in words."""
    transform = {"recipe": {"name": "dino", "size": 28}, "normalize": {"rescale": 1 / 255, "where": "trainer"}}
    stream = recipe_stream("dino") | {"transform": transform}
    make_images(tmp_path / "photos", each=5)
    with run_stack({"roots": {"photos": str(tmp_path / "photos")}, "streams": {"train": stream}}, 1) as stack:
        feed = stack.feed()
        first, normalize = next(iter(feed)), feed.normalizer()
        feed.seek(0)
        by_name = next(iter(feed.dataset(None)))
        assert {name: array.shape for name, array in first.items()} == {
            name: tuple(tensor.shape) for name, tensor in by_name.items()
        }
        for name in ("global_1", "local_3"):
            assert np.allclose(first[name] / np.float32(255), normalize(by_name[name]).numpy(), atol=1e-6)
            assert np.allclose(first[name] / np.float32(255), normalize(first[name]), atol=1e-6)
        feed.seek(0)
        assert [(5, 28, 28, 3), (5, 12, 12, 3)] == [
            tuple(each.shape) for each in next(iter(feed.keras(("global_2", "local_1"))))
        ]
        with pytest.raises(
            SpecError, match=r"fields = \('image', 'label'\): give a tuple of global_1, global_2, local"
        ):
            feed.dataset()
