"""Folders of annotated images: what `penstock init` and `penstock.images` make of them."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.imaging.annotated import mask, write_coco, write_images, write_voc, write_yolo
from support.imaging.detection import write_set

from penstock.commands.init import main
from penstock.launcher.annotations.class_names import yolo_names
from penstock.launcher.annotations.folders import Annotated, recognised
from penstock.launcher.annotations.tables import recognised_table
from penstock.launcher.images import images_spec
from penstock.protocol.errors import SpecError
from penstock.protocol.records import TaskKey
from penstock.protocol.spec.spec import Spec, load_spec, parse_spec
from penstock.ventilator.sources.catalog import Catalog
from penstock.worker.imaging.pipeline import Pipeline


def write_masks(root: Path, count: int) -> None:
    """Write images next to masks, for training and validation."""
    for part in ("train", "val"):
        write_images(root / f"images/{part}", [f"{number}.jpg" for number in range(count)])
        (root / f"masks/{part}").mkdir(parents=True)
        for number in range(count):
            Image.fromarray(mask()).save(root / f"masks/{part}/{number}.png")


SETS: dict[str, tuple[Callable[[Path, int], None], str, list[str]]] = {
    "coco": (write_coco, "coco-detection", ["train"]),
    "voc": (write_voc, "coco-detection", ["train"]),
    "yolo": (write_yolo, "coco-detection", ["train", "validation"]),
    "paired": (write_masks, "segmentation", ["train", "validation"]),
}


def made(spec: Spec, stream: str) -> dict[str, Any]:
    """Return the fields of a stream's first task."""
    catalog = Catalog.open(spec, spec.roots)
    plan = next(plan for plan in catalog.plans if plan.name == stream)
    outcome = Pipeline(plan, spec.roots).run(catalog.task(TaskKey(stream=stream, ordinal=0), 0))
    assert () == outcome.failures
    return dict(zip((field.name for field in plan.schema), outcome.arrays, strict=True))


@pytest.mark.parametrize("name", SETS)
def test_init_writes_a_spec_that_makes_samples(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the recipe, the source of each stream and the targets; what is not held out is split."""
    write, recipe, streams = SETS[name]
    write(tmp_path / "set", 10)
    assert 0 == main([str(tmp_path / "set"), "--output", str(tmp_path / "spec.toml"), "--validation-split", "0.3"])
    classes = 3 if recipe == "segmentation" else 2  # a mask's background is one
    assert f"{classes} classes; recipe {recipe}" in capsys.readouterr().out
    spec = load_spec(tmp_path / "spec.toml")
    assert {"train", "validation"} == spec.streams.keys()
    assert (recipe, name) == (spec.streams["train"].transform.recipe.name, spec.streams["train"].source.kind_name)  # type: ignore[union-attr]
    assert ("all" if "validation" in streams else "training") == spec.streams["train"].source.subset
    for stream in spec.streams:
        fields = made(spec, stream)
        if recipe == "segmentation":
            assert {0, 1, 2} <= set(np.unique(fields["mask"]).tolist()) <= {0, 1, 2, 255}
        else:
            assert {2} == set(fields["boxes_count"].tolist())
            assert [0, 1] == fields["boxes_label"][0, :2].tolist()


@pytest.mark.parametrize("name", SETS)
def test_images_takes_such_a_folder_with_a_recipe(name: str, tmp_path: Path) -> None:
    """The size is that of the call; validation shows the whole image."""
    write, recipe, _ = SETS[name]
    write(tmp_path, 6)
    spec = spec_of(tmp_path, recipe=recipe, size=64)
    assert (64, 64, 3) == spec.streams["train"].transform.image_shape
    assert 6 == len(made(spec, "train")["image"])
    if held := spec.streams.get("validation"):
        assert ["letterbox"] == [step.name for step in held.transform.all_steps]


def spec_of(folder: Path, **changes: Any) -> Spec:
    """Return the spec that `penstock.images` makes."""
    options: dict[str, Any] = {"size": None, "validation_split": 0.0, "batch_size": 4, "augment": None, "recipe": None}
    options |= {"color": "rgb", "fit": "stretch", "classes": None, "seed": 3}
    return parse_spec(images_spec(folder, options | changes))


def test_voc_serves_both_recipes(tmp_path: Path) -> None:
    """Boxes of the set Main, and masks of the set Segmentation."""
    write_voc(tmp_path / "VOCdevkit/VOC2008", 3)
    found = {recipe: recognised(tmp_path, recipe) for recipe in ("coco-detection", "segmentation")}
    sources = [each.sources["train"] if each else {} for each in found.values()]
    voc = {"kind": "voc", "path": "VOCdevkit/VOC2008"}
    assert [voc | {"image_set": "Main/train"}, voc | {"image_set": "Segmentation/train"}] == sources


def test_folders_of_roboflow_are_known(tmp_path: Path) -> None:
    """COCO's file lies with the images; YOLO's folders lie below each part."""
    write_coco(tmp_path / "a", 2)
    (tmp_path / "coco").mkdir()
    (tmp_path / "a/train2017").rename(tmp_path / "coco/train")
    (tmp_path / "a/annotations/instances_train2017.json").rename(tmp_path / "coco/train/_annotations.coco.json")
    found = recognised(tmp_path / "coco")
    assert found
    assert {"kind": "coco", "path": "train/_annotations.coco.json", "images": "train"} == found.sources["train"]
    write_yolo(tmp_path / "b", 2)
    for part, name in (("train", "train"), ("val", "valid")):
        for kind in ("images", "labels"):
            (tmp_path / "yolo" / name).mkdir(parents=True, exist_ok=True)
            (tmp_path / f"b/{kind}/{part}").rename(tmp_path / f"yolo/{name}/{kind}")
    (tmp_path / "yolo/classes.txt").write_text("cat\ndog\n")
    found = recognised(tmp_path / "yolo")
    assert found
    assert {"train": "train/images", "validation": "valid/images"} == {
        stream: source["path"] for stream, source in found.sources.items()
    }


def test_rooms_and_counts_follow_from_the_annotations(tmp_path: Path) -> None:
    """An image with more boxes than usual has room; a folder of classes is none of these layouts."""
    write_yolo(tmp_path / "a", 2, {0: "0 0.5 0.5 0.1 0.1\n" * 130})
    found = recognised(tmp_path / "a")
    assert isinstance(found, Annotated)
    assert (130, 2) == (found.targets["boxes"]["max_boxes"], found.class_count)
    write_images(tmp_path / "b/cat", ["1.jpg"])
    assert None is recognised(tmp_path / "b")


@pytest.mark.parametrize(
    "text",
    [
        "names: [cat, 'dog']\n",
        "nc: 2\nnames:\n- cat\n- dog\nroboflow:\n  x: 1\n",
        'names:\n  0: cat  # a comment\n\n  1: "dog"\ndownload: x\n',
        "path: ../x\nnames: ['cat',\n  'dog']  # two\n",
        "names: {0: cat, 1: dog}\n",
    ],
)
def test_class_names_are_read_in_the_forms_that_tools_write(tmp_path: Path, text: str) -> None:
    """In one line, a line each, with their numbers."""
    (tmp_path / "data.yaml").write_text(text)
    assert ["cat", "dog"] == yolo_names(tmp_path, tmp_path)


def test_what_cannot_be_is_said(tmp_path: Path) -> None:
    """A layout without its class names, annotations that are none, and options that contradict each other."""
    write_yolo(tmp_path / "a", 1)
    (tmp_path / "a/data.yaml").write_text("names: cats.txt\n")
    with pytest.raises(SpecError, match=r"data\.yaml: names = 'cats\.txt': give a list"):
        recognised(tmp_path / "a")
    (tmp_path / "a/data.yaml").unlink()
    with pytest.raises(SpecError, match="no file names its classes"):
        recognised(tmp_path / "a")
    write_coco(tmp_path / "b", 1)
    with pytest.raises(SpecError, match=r"'coco-detection': the annotations name the classes"):
        spec_of(tmp_path / "b", recipe="coco-detection", classes=["cat"])
    (tmp_path / "b/annotations/instances_train2017.json").write_text(json.dumps({"images": []}))
    with pytest.raises(SpecError, match="not COCO's annotations"):
        recognised(tmp_path / "b")
    with pytest.raises(SpecError, match="is in none of the layouts that are known for it"):
        spec_of(tmp_path / "a/images", recipe="segmentation")
    write_masks(tmp_path / "c", 1)
    with pytest.raises(SpecError, match="has validation images already"):
        spec_of(tmp_path / "c", recipe="segmentation", validation_split=0.5)


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_a_manifest_with_boxes_is_recognised(kind: str, tmp_path: Path) -> None:
    """By its column, in every form of table; classes are those that its boxes name, in order."""
    write_set(tmp_path, 3, {1: {"boxes": []}})
    rows = [json.loads(line) for line in (tmp_path / "list.jsonl").read_text().splitlines()]
    place = tmp_path / f"list.{kind}"
    if kind == "csv":
        lines = [["path", "boxes"], *([row["path"], json.dumps(row["boxes"])] for row in rows)]
        with place.open("w", newline="") as file:
            csv.writer(file).writerows(lines)
    elif kind == "parquet":
        table = {name: [json.dumps(row[name]) if name == "boxes" else row[name] for row in rows] for name in rows[0]}
        table = {name: table[name] for name in ("path", "boxes")}
        pytest.importorskip("pyarrow.parquet").write_table(pytest.importorskip("pyarrow").table(table), place)
    found = recognised_table(place)
    assert found is not None
    expected: dict[str, Any] = {"kind": "boxes", "column": "boxes", "classes": ["cat", "dog"], "max_boxes": 100}
    assert ("coco-detection", {"boxes": expected}) == (found.recipe, found.targets)
    source = {"kind": "manifest", "path": place.name}
    assert {"train": source if kind == "jsonl" else source | {"label_column": ""}} == found.sources


def test_a_manifest_with_masks_is_recognised_by_its_files(tmp_path: Path) -> None:
    """In a folder `masks`; a column of another kind of value is none, and neither is a table of paths and labels."""
    write_set(tmp_path, 3)
    rows = [json.loads(line) for line in (tmp_path / "list.jsonl").read_text().splitlines()]
    place = tmp_path / "some.jsonl"
    place.write_text("".join(json.dumps({"path": row["path"], "mask": row["mask"]}) + "\n" for row in rows))
    found = recognised_table(place)
    assert found is not None
    expected = {"kind": "mask", "column": "mask", "classes": 3, "ignore": 255, "folder": "masks"}
    assert ("segmentation", {"mask": expected}) == (found.recipe, found.targets)
    for row in ({"boxes": "many"}, {"boxes": [[1, 2, 3, 4]]}, {"mask": "none.png"}, {"label": "cat"}):
        place.write_text(json.dumps({"path": "0.png", **row}) + "\n")
        assert recognised_table(place) is None, row
