"""`penstock init`: the spec that it writes for a folder or a manifest is valid, and has the recipe that fits."""

import tomllib
from pathlib import Path

import pytest
from support.images import encode, picture
from support.streams import make_images, make_manifest

from penstock.commands.init import fitting, main
from penstock.protocol.spec.spec import Spec, load_spec, parse_spec
from penstock.ventilator.sources.catalog import Catalog


def written(source: Path, output: Path, *more: str) -> Spec:
    """Return the spec that the command writes."""
    assert 0 == main([str(source), "--output", str(output), *more])
    return load_spec(output)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return ten images in each of two classes, 64 × 64 pixels and of other sizes."""
    root = make_images(tmp_path_factory.mktemp("init") / "my photos", each=10)
    make_images(root, each=1, classes=["cat"], size=300)
    return root


def test_a_folder_of_classes_is_split(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Training gets the recipe, validation its counterpart; the file says what was seen."""
    spec = written(photos, tmp_path / "spec.toml", "--validation-split", "0.2")
    train, held = spec.streams["train"].transform, spec.streams["validation"].transform
    assert train.recipe is not None
    assert held.recipe is not None
    assert ("imagenet-train", "imagenet-eval") == (train.recipe.name, held.recipe.name)
    assert (64, 64, 3) == train.image_shape == held.image_shape
    assert [16, 4] == [plan.items for plan in Catalog.open(spec, spec.roots).plans]
    text = (tmp_path / "spec.toml").read_text(encoding="utf-8")
    assert "# 16 training images in 2 classes" in text
    assert parse_spec(tomllib.loads(text.replace("# [[", "[[").replace("# op", "op"))) != spec, "more changes"
    assert "next: penstock check" in capsys.readouterr().out


def test_a_folder_with_training_and_validation_is_not_split(tmp_path: Path) -> None:
    """Its streams are its folders; the images of CIFAR's kind get CIFAR's recipe."""
    top = tmp_path / "top"
    for name in ("train", "val"):
        (top / name / "cat").mkdir(parents=True)
        for number in range(2):
            (top / name / "cat" / f"{number}.png").write_bytes(encode(picture(number, 0, 32, 32), "PNG"))
    spec = written(top, tmp_path / "spec.toml")
    assert {"train": "train", "validation": "val"} == {
        name: getattr(stream.source, "path", None) for name, stream in spec.streams.items()
    }
    assert spec.streams["train"].transform.recipe is not None
    assert "cifar-train" == spec.streams["train"].transform.recipe.name
    assert (32, 32, 3) == spec.streams["validation"].transform.image_shape


def test_a_manifest_is_split_too_unless_that_is_not_wanted(photos: Path, tmp_path: Path) -> None:
    """Its paths begin at its folder."""
    name = make_manifest(photos)
    assert {"train", "validation"} == set(written(photos / name, tmp_path / "a.toml").streams)
    spec = written(photos / name, tmp_path / "b.toml", "--validation-split", "0")
    assert ["train"] == list(spec.streams)
    assert "manifest" == spec.streams["train"].source.kind_name


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([(32, 32)] * 3, ("cifar-train", 32)),
        ([(32, 32), (32, 40)], ("imagenet-train", 32)),
        ([(480, 640), (500, 375)], ("imagenet-train", 224)),
        ([(100, 130), (120, 90), (110, 300)], ("imagenet-train", 96)),
        ([(7, 9)], ("imagenet-train", 32)),
    ],
)
def test_the_recipe_follows_from_the_sizes(sizes: list[tuple[int, int]], expected: tuple[str, int]) -> None:
    """Small squares of one size are cropped; of others, parts of a size that most of them have."""
    assert expected == fitting(sizes)


def test_what_cannot_be_is_said(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is there stays; a folder that is not, a file of another kind, and images that are none."""
    there = tmp_path / "spec.toml"
    there.write_text("mine", encoding="utf-8")
    bad = tmp_path / "bad"
    (bad / "cat").mkdir(parents=True)
    (bad / "cat" / "1.jpg").write_bytes(b"no picture")
    free = tmp_path / "free.toml"
    for source, output, words in (
        (photos, there, "exists already"),
        (photos / "gone", free, "no such folder"),
        (photos / "cat" / "0001.jpg", free, "no manifest: give a CSV, JSON lines or Parquet file"),
        (bad, free, "can be read; see penstock preview"),
    ):
        assert 2 == main([str(source), "--output", str(output), "--validation-split", "0"])
        assert words in capsys.readouterr().err.replace("\n", " ")
    assert "mine" == there.read_text(encoding="utf-8")
    assert not free.exists()
