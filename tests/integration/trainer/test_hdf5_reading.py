"""Files that `penstock write` wrote, read back: by `Hdf5Feed`, as a source of streams, by `penstock inspect`."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image
from support.streams import digest, epochs, make_images, make_spec, make_stream, run_stack

from penstock.commands.inspect import main
from penstock.protocol.errors import SourceError, SpecError
from penstock.trainer import Hdf5Feed

pytestmark = pytest.mark.integration

IMAGES, PATCHES, EPOCHS = 24, 2, 2
MANIPULATIONS = ("img", "gamma08", "qf70")


def write(folder: Path, output: str, *options: str) -> None:
    """Write a file from the folder's spec, as a user would."""
    command = [sys.executable, "-m", "penstock", "write", "spec.json", "-o", output, "--workers", "1", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    assert 0 == done.returncode, done.stderr


def inspect(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Return what `penstock inspect` prints."""
    status = main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    assert (0, "") == (status, said.err)
    return said.out


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Return what `penstock inspect` says of what it does not read."""
    status = main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    assert (2, "") == (status, said.out)
    return said.err


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with photos, one of them damaged, a spec, and two files written from it.

    `sharded.h5` holds two epochs in compressed shards, `several.h5` an image for each manipulation,
    `views.h5` two views of one size and one of another.
    """
    folder = tmp_path_factory.mktemp("written")
    make_images(folder / "photos", each=IMAGES // 2)
    (folder / "photos/cat/0003.jpg").write_bytes(b"no image")
    choices = [{"kind": "gamma", "value": 0.8}, {"kind": "jpeg", "value": 70}]
    common = {"patches": PATCHES, "failure_budget": 0.5}
    train = make_stream(**common)
    transform = {**train["transform"], "patch": {"kind": "random", "height": 24, "width": 24}}
    train["transform"]["normalize"] = {"rescale": 1 / 255, "where": "trainer"}
    several = make_stream(transform={**transform, "manipulations": {"choices": choices, "every": True}}, **common)
    crop = {"op": "random_resized_crop", "size": 20}
    steps = {"whole": {"steps": [crop]}, "part": {"count": 2, "steps": [{**crop, "size": [10, 12]}]}}
    views = make_stream(transform={"views": steps}, **common)
    spec = make_spec(folder / "photos", train=train, several=several, views=views)
    (folder / "spec.json").write_text(json.dumps(spec), encoding="utf-8")
    sharded = ["--epochs", str(EPOCHS), "--shard-size", "32", "--compression", "zstd"]
    write(folder, "sharded.h5", *sharded)
    write(folder, "several.h5", "--stream", "several")
    write(folder, "views.h5", "--stream", "views")
    return folder


def spec_of(folder: Path) -> dict[str, Any]:
    """Return the spec that the files were written from."""
    content: dict[str, Any] = json.loads((folder / "spec.json").read_text(encoding="utf-8"))
    return content


@pytest.mark.slow
def test_a_written_file_gives_the_very_batches_of_the_live_stream(folder: Path) -> None:
    """Epoch by epoch, whatever is shuffled; shuffled, the same samples in another order."""
    with run_stack(spec_of(folder), workers=1) as stack:
        train = stack.feed("train")
        live = epochs(train, EPOCHS)
        normalized = train.normalizer()(live[0]["image"])
    fields = ("image", "label", "item", "patch")
    with Hdf5Feed(folder / "sharded.h5", recorded=True, fields=fields) as feed:
        assert (16, ("cat", "dog"), "train") == (feed.plan.settings.batch_size, feed.classes, feed.plan.name)
        batches = epochs(feed, EPOCHS)
        assert digest(live) == digest(batches)
        assert np.array_equal(normalized, feed.normalizer()(batches[0]["image"]))
        assert [46, 46] == [end.delivered for end in feed.epochs]
    with Hdf5Feed(folder / "sharded.h5") as feed:
        batches = list(feed)
    expected = sorted(image.tobytes() for batch in live for image in batch["image"])
    assert expected == sorted(image.tobytes() for batch in batches for image in batch["image"])


def test_a_file_with_every_manipulation_shows_the_same_patch_under_each(folder: Path) -> None:
    """By number the unchanged one is 0, then they are in the order of the spec."""
    batches: dict[int, Any] = {}
    for index, name in enumerate(MANIPULATIONS):
        with Hdf5Feed(folder / "several.h5", manipulation=name, shuffle=False) as feed:
            assert MANIPULATIONS == feed.manipulations
            batches[index] = next(iter(feed))
    assert 1 == len({batch["item"].tobytes() + batch["patch"].tobytes() for batch in batches.values()})
    assert 3 == len({batch["image"].tobytes() for batch in batches.values()})
    gamma = np.floor(255 * (batches[0]["image"] / 255) ** 0.8 + 0.5)
    assert np.array_equal(gamma, batches[1]["image"])
    with Hdf5Feed(folder / "several.h5", manipulation="random", crop=(16, 16), rot90=True) as feed:
        drawn = list(feed)
    assert {0, 1, 2} == {index for batch in drawn for index in batch["manipulation"].tolist()}
    assert {(16, 16, 3)} == {batch["image"].shape[1:] for batch in drawn}


@pytest.mark.long
def test_the_layout_per_manipulation_is_nine_images_of_each_patch_and_its_label(folder: Path) -> None:
    """Of a stream that shows one manipulation a patch; the names are those of the older project's files."""
    size = {"patch": {"kind": "random", "height": 24, "width": 24}}
    train = make_stream(transform={**size, "manipulations": {"preset": "ieee-sp-cup-2018"}}, failure_budget=0.5)
    nine = folder / "nine"
    nine.mkdir()
    (nine / "spec.json").write_text(json.dumps(make_spec(folder / "photos", train=train)), encoding="utf-8")
    write(nine, "nine.h5", "--layout", "per-manipulation")
    images = {"img", "gamma08", "gamma12", "qf90", "qf70", "bicubic05", "bicubic08", "bicubic15", "bicubic20"}
    with h5py.File(nine / "nine.h5") as file:
        assert images | {"label", "item", "patch", "epoch", "paths", "quarantine"} == set(file)
        found: dict[str, Any] = {name: file[name] for name in (*images, "label")}
        assert {(len(found["label"]), 24, 24, 3)} == {found[name].shape for name in images}
        assert 9 == len({found[name][:].tobytes() for name in images})
        expected = np.floor(255 * (found["img"][:] / 255) ** 1.2 + 0.5)
        assert np.array_equal(expected, found["gamma12"][:])


def test_written_files_are_sources_of_further_streams(folder: Path) -> None:
    """Workers cut, turn and flip stored patches, compressed and in shards; labels and class names come along."""
    shards = {"kind": "hdf5", "root": "photos", "path": "sharded.h5"}
    several = {"kind": "hdf5", "root": "photos", "path": "several.h5", "images": "qf70"}
    as_it_is = {"transform": {"resize": {"height": 24, "width": 24}}, "shuffle": False, "batch_size": 8}
    transform = {
        "patch": {"kind": "random", "height": 12, "width": 12},
        "augment": {"horizontal_flip": True, "rotation_range": 30.0},
    }
    changed = make_stream(source=shards, transform=transform)
    with run_stack(make_spec(folder, plain={"source": several, **as_it_is}, changed=changed), workers=1) as stack:
        feed = stack.feed("plain")
        plain = list(feed)
        assert ("cat", "dog") == feed.classes
        patches = list(stack.feed("changed"))
    with Hdf5Feed(folder / "several.h5", shuffle=False, batch_size=8, image="qf70") as stored:
        rows = list(stored)
    for name in ("image", "label"):
        assert np.array_equal(_joined(rows, name), _joined(plain, name))
    assert {(12, 12, 3)} == {batch["image"].shape[1:] for batch in patches}
    assert {0: 3 * 44, 1: 3 * 48} == dict(zip(*np.unique(_joined(patches, "label"), return_counts=True), strict=True))


def _joined(batches: list[Any], name: str) -> Any:
    return np.concatenate([batch[name] for batch in batches])


def test_inspect_says_what_a_file_holds(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As tables and as JSON: fields, storage, classes, epochs, what is lost, the spec; and a sheet."""
    file, target = folder / "sharded.h5", folder / "sheet.png"
    shown = inspect(capsys, file, "-o", target, "--count", 6)
    for words in ("zstd:3", "complete", "(32, 40, 3)", "cat", "quarantined: 2 items", "cat/0003.jpg", "sheet.png: "):
        assert words in shown
    told = json.loads(inspect(capsys, file, "--json"))
    assert 92 == told["samples"]
    assert {"cat": 44, "dog": 48} == told["classes"]
    assert {"0": 46, "1": 46} == told["samples_by_epoch"]
    assert {"complete": True, "positions": 96, "of": 96} == told["progress"]
    assert {"cat/0003.jpg"} == {lost["path"] for lost in told["quarantined"]}
    assert PATCHES == told["spec"]["patches"]
    image = told["fields"][0]
    assert ["image", [32, 40, 3], 92, 92 * 3840] == [image[key] for key in ("name", "shape", "rows", "bytes")]
    assert 1 < image["ratio"] < 10
    shards = sorted(folder.glob("sharded-*.h5"))
    assert [shard.name for shard in shards] == sorted(told["parts"])
    assert sum(path.stat().st_size for path in (file, *shards)) == told["bytes"]
    with Image.open(target) as sheet:
        assert len(np.unique(np.asarray(sheet).reshape(-1, 3), axis=0)) > 1000


def test_a_sheet_of_every_manipulation_has_a_row_for_each_sample(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same patch, unchanged and under each manipulation, side by side: more samples make it higher only."""
    sizes: list[tuple[int, int]] = []
    for count in (2, 3):
        inspect(capsys, folder / "several.h5", "-o", folder / "several.png", "--side", 32, "--count", count)
        with Image.open(folder / "several.png") as sheet:
            sizes.append(sheet.size)
    assert sizes[0][0] == sizes[1][0]
    assert sizes[0][1] < sizes[1][1]


def test_inspect_reads_files_of_others_and_refuses_what_is_none(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A foreign file shows what is in it; no HDF5, a cut one and one without data sets are named in words."""
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["img"] = np.zeros((5, 8, 8), np.uint8)
        file["gamma08"] = np.zeros((5, 8, 8), np.uint8)
        file["label"] = np.arange(5) % 2
        file["notes"] = "text"
    assert "not Penstock" in inspect(capsys, tmp_path / "foreign.h5", "-o", tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").exists()
    told = json.loads(inspect(capsys, tmp_path / "foreign.h5", "--json"))
    assert {"0": 3, "1": 2} == told["classes"]
    assert {"img", "gamma08", "label", "notes"} == {field["name"] for field in told["fields"]}
    with h5py.File(tmp_path / "groups.h5", "w") as file:
        file.create_group("deep")
    with h5py.File(tmp_path / "labels.h5", "w") as file:
        file["label"] = np.arange(5)
    whole = (folder / "several.h5").read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.h5").write_text("nothing")
    for name, words in {
        "none.h5": "no such file",
        "text.h5": "not an HDF5 file",
        "cut.h5": "truncated",
        "groups.h5": "no data set at its root; it holds: deep",
    }.items():
        said = refusal(capsys, tmp_path / name)
        assert f"penstock inspect: {tmp_path / name}: " in said
        assert words in said
    assert 2 == main([str(tmp_path / "labels.h5"), "-o", str(tmp_path / "sheet.png")])
    assert "no images to draw" in capsys.readouterr().err
    assert "give a file name that ends in" in refusal(capsys, tmp_path / "labels.h5", "-o", "sheet.txt")


def test_a_missing_shard_is_named(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By the feed and by inspect; never read as zeros."""
    (tmp_path / "sharded.h5").write_bytes((folder / "sharded.h5").read_bytes())
    with pytest.raises(SourceError, match=r"sharded-00000.h5, and there is no such file"):
        Hdf5Feed(tmp_path / "sharded.h5")
    assert "sharded-00000.h5, and there is no such file" in refusal(capsys, tmp_path / "sharded.h5")


def test_a_file_of_views_gives_all_of_them(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each field has the bytes that the stream gives; one alone may be chosen as `image`, and changed."""
    spec = json.loads((folder / "spec.json").read_text())
    with run_stack(spec, 1) as stack, stack.feed("views") as feed:
        expected = epochs(feed, 1)
    with Hdf5Feed(folder / "views.h5", shuffle=False) as feed:
        found, schema = epochs(feed, 1), {field.name: field for field in feed.schema}
    names = ("whole", "part_1", "part_2")
    assert ["whole", "part_1", "part_2", "label", "item", "patch", "epoch"] == list(schema)
    assert [("hwc", "rgb")] * 3 == [(schema[name].axes, schema[name].channels) for name in names]
    for name in (*names, "item", "patch"):
        wanted, got = (np.concatenate([batch[name] for batch in batches]) for batches in (expected, found))
        assert np.array_equal(wanted, got), name
    with Hdf5Feed(folder / "views.h5", shuffle=False, image="part_2", crop=(8, 8)) as feed:
        assert (8, 8, 3) == feed.schema[0].shape
    with pytest.raises(SpecError, match="crop, rot90 and flip change one image, and it holds views: give image="):
        Hdf5Feed(folder / "views.h5", crop=(8, 8))
    inspect(capsys, folder / "views.h5", "-o", folder / "views.png", "--count", "4")
    with Image.open(folder / "views.png") as sheet:
        assert sheet.width > 3 * 128
