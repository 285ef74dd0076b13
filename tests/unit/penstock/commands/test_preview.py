"""`penstock preview`: which samples stand on the sheet, in which order, with which words."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.images import encode, picture, write_images

from penstock.commands.preview import find_units, main, make_samples
from penstock.contact_sheet.samples import Sample, lines, make_sheet, save
from penstock.contact_sheet.sheet import check_output
from penstock.protocol.errors import SpecError
from penstock.protocol.messages import TaskKey
from penstock.protocol.plan import StreamPlan
from penstock.protocol.spec.spec import Spec, parse_spec
from penstock.ventilator.sources.catalog import Catalog
from penstock.worker.imaging.pipeline import Pipeline


def make_spec(root: Path, **stream: Any) -> dict[str, Any]:
    """Return a spec of one stream over the images below `root`."""
    settings = {
        "source": {"kind": "directory", "root": "photos"},
        "transform": {"resize": {"height": 24, "width": 32}},
        **stream,
    }
    return {"seed": 4, "roots": {"photos": str(root)}, "streams": {"train": settings}}


def open_stream(spec: dict[str, Any]) -> tuple[Catalog, StreamPlan, Spec]:
    """Return a spec's only stream, listed."""
    parsed = parse_spec(spec)
    book = Catalog.open(parsed, parsed.roots)
    [plan] = book.plans
    return book, plan, parsed


def preview(tmp_path: Path, spec: dict[str, Any], *options: str) -> Image.Image:
    """Run the command; return the sheet."""
    (tmp_path / "spec.json").write_text(json.dumps(spec), encoding="utf-8")
    assert 0 == main([str(tmp_path / "spec.json"), "-o", str(tmp_path / "sheet.png"), *options])
    with Image.open(tmp_path / "sheet.png") as sheet:
        return sheet.convert("RGB")


def colours(sheet: Image.Image, colour: tuple[int, int, int]) -> int:
    """Return how many pixels of a sheet have exactly this colour."""
    return int((np.asarray(sheet.convert("RGB")) == colour).all(axis=2).sum())


def test_rows_of_arrays_are_shown_with_their_number(tmp_path: Path) -> None:
    """Tasks of rows carry no items; the sheet names the array and the row all the same."""
    images = np.stack([picture(number, number % 2, 24, 32) for number in range(6)])
    np.savez(tmp_path / "set.npz", x=images, y=np.arange(6) % 2)
    source = {"kind": "arrays", "root": "photos", "images": "set.npz/x", "labels": "set.npz/y"}
    book, plan, parsed = open_stream(make_spec(tmp_path, source=source, shuffle=False))
    pipeline = Pipeline(plan, parsed.roots)
    units = find_units(book, plan, range(6))
    samples = [sample for task, places in units for sample in make_samples(pipeline, task, places)]
    assert ["1", "x[5]"] == list(lines(plan, samples[5]))
    for sample, image in zip(samples, images, strict=True):
        np.testing.assert_array_equal(image, sample.fields["image"])


def test_samples_are_those_of_the_stream_in_its_order(tmp_path: Path) -> None:
    """The same bytes at the same positions as whole tasks give, for mix windows, several patches and later epochs."""
    write_images(tmp_path, count=10)
    transform = {
        "patch": {"kind": "random", "height": 16, "width": 20},
        "manipulations": {"choices": [{"kind": "gamma", "value": 0.5}]},
        "augment": {"horizontal_flip": True},
    }
    book, plan, spec = open_stream(make_spec(tmp_path, transform=transform, patches=3, mix=4, task_items=2))
    pipeline = Pipeline(plan, spec.roots)
    geometry = plan.geometry
    expected: dict[int, list[bytes]] = {}
    for ordinal in range(2 * geometry.tasks_per_epoch):
        arrays = pipeline.run(book.task(TaskKey(stream="train", ordinal=ordinal), 0)).arrays
        for row, position in enumerate(geometry.positions(ordinal).ravel().tolist()):
            expected[position] = [array[row].tobytes() for array in arrays]
    for start, count in ((0, 17), (60, 60)):
        wanted = range(start, start + count)
        units = find_units(book, plan, wanted)
        found = [sample for task, places in units for sample in make_samples(pipeline, task, places)]
        assert list(wanted) == sorted(sample.position for sample in found)
        for sample in found:
            assert expected[sample.position] == [array.tobytes() for array in sample.fields.values()]


def test_no_item_is_made_twice_or_in_vain(tmp_path: Path) -> None:
    """Of a mix window, only the items whose samples are shown."""
    write_images(tmp_path, count=50)
    transform = {"patch": {"kind": "random", "height": 16, "width": 16}}
    book, plan, _ = open_stream(make_spec(tmp_path, transform=transform, patches=10, mix=100))
    units = find_units(book, plan, range(20))
    items = [task.items[0].item for task, _ in units]
    assert len(items) == len(set(items)) <= 20
    assert list(range(20)) == sorted(position for _, places in units for position, _ in places)


def test_what_stands_under_a_sample(tmp_path: Path) -> None:
    """Class, patch and manipulation, further numbers, and the file's name."""
    write_images(tmp_path, count=1)
    transform = {
        "patch": {"kind": "random", "height": 16, "width": 20},
        "manipulations": {"preset": "ieee-sp-cup-2018"},
        "custom": [{"name": "any", "produces": {"weight": {"dtype": "float32", "shape": []}}}],
    }
    _, plan, _ = open_stream(make_spec(tmp_path, transform=transform, patches=3))
    fields: dict[str, Any] = {
        "image": np.zeros((16, 20, 3), np.uint8),
        "label": np.array(1, np.int32),
        "item": np.array(1),
        "patch": np.array(2, np.int32),
        "manipulation": np.array(3, np.int32),
        "weight": np.array(0.25, np.float32),
    }
    assert ("dog", "patch 2 · qf90", "weight 0.25", "00000.jpg") == lines(plan, Sample(0, "dog/00000.jpg", fields))
    fields |= {"manipulation": np.array(0, np.int32), "label": np.array(-1, np.int32)}
    assert ("no label", "patch 2 · unchanged", "weight 0.25", "7") == lines(plan, Sample(0, "7", fields))
    assert ("quarantined", "bad.jpg") == lines(plan, Sample(0, "cat/bad.jpg", {}, "truncated"))


def test_the_command_draws_a_sheet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As many tiles as asked for, or as the epoch has; the file is named; dark text on a light page."""
    write_images(tmp_path / "photos", count=10)
    spec = make_spec(tmp_path / "photos")
    few, all_of_them = preview(tmp_path, spec, "--count", "6"), preview(tmp_path, spec, "--count", "500")
    assert few.width * few.height < all_of_them.width * all_of_them.height
    assert "sheet.png" in capsys.readouterr().out
    assert (252, 252, 250) == all_of_them.convert("RGB").getpixel((0, 0))
    assert colours(all_of_them, (27, 27, 27)) > 100


def test_every_sample_stands_on_the_sheet_pixel_by_pixel(tmp_path: Path) -> None:
    """In reading order, at the same distances."""
    (tmp_path / "photos" / "red").mkdir(parents=True)
    shades = [40 * number + 15 for number in range(6)]
    for shade in shades:
        image = Image.new("RGB", (40, 30), (255, shade, 0))
        (tmp_path / "photos" / "red" / f"{shade:03}.png").write_bytes(encode(image, "PNG"))
    sheet = preview(tmp_path, make_spec(tmp_path / "photos", shuffle=False), "--count", "6")
    places = []
    for shade in shades:
        ys, xs = np.nonzero((np.asarray(sheet.convert("RGB")) == (255, shade, 0)).all(axis=2))
        assert 24 * 4 * 32 * 4 == len(ys)  # enlarged 4 times
        places.append((int(ys.min()), int(xs.min())))
    assert sorted(places) == places
    assert 6 == len(set(places))


def test_a_bad_file_is_a_tile_with_its_name_and_reason(tmp_path: Path) -> None:
    """Once for each item, whatever the number of its samples; the others are drawn."""
    write_images(tmp_path / "photos", count=2)
    (tmp_path / "photos" / "cat" / "bad.jpg").write_bytes(b"no picture")
    transform = {"patch": {"kind": "random", "height": 16, "width": 16}}
    spec = make_spec(tmp_path / "photos", transform=transform, patches=5, mix=5)
    book, plan, parsed = open_stream(spec)
    pipeline = Pipeline(plan, parsed.roots)
    units = find_units(book, plan, range(plan.geometry.samples_per_epoch))
    found = [sample for task, places in units for sample in make_samples(pipeline, task, places)]
    assert ["cat/bad.jpg"] == [sample.item for sample in found if sample.failure]
    assert 20 == sum(not sample.failure for sample in found)
    assert colours(preview(tmp_path, spec), (251, 233, 231)) > 1000


def test_a_sheet_of_failures_alone_is_a_sheet(tmp_path: Path) -> None:
    """Nothing is assumed of pictures that are not there."""
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    (tmp_path / "photos" / "cat" / "bad.jpg").write_bytes(b"")
    assert colours(preview(tmp_path, make_spec(tmp_path / "photos")), (251, 233, 231)) > 1000


def test_floats_with_channels_first_look_as_the_levels_they_were_made_of(tmp_path: Path) -> None:
    """A sheet of normalised samples equals one of the levels themselves, but for the line that says so."""
    write_images(tmp_path / "photos", count=3)
    levels = preview(tmp_path, make_spec(tmp_path / "photos"))
    normalize = {"rescale": 1 / 255, "data_format": "channels_first"}
    transform = {"resize": {"height": 24, "width": 32}, "normalize": normalize}
    floats = preview(tmp_path, make_spec(tmp_path / "photos", transform=transform))
    below = (0, 70, levels.width, levels.height)
    difference = np.asarray(levels.crop(below)).astype(int) - np.asarray(floats.crop(below))
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize(
    ("called", "shape", "reds"),
    [
        ({"axes": "chw"}, (3, 24, 4), 24 * 4),  # without a word, four would be taken for channels
        ({"axes": "hwc"}, (3, 24, 2), 0),  # three rows of two channels, of which the first is shown in gray
        ({}, (3, 24, 2), 24 * 2),
        ({}, (3, 24, 4), 0),
    ],
)
def test_images_of_custom_transforms_are_drawn_by_the_axes_that_the_spec_says(
    tmp_path: Path, called: dict[str, str], shape: tuple[int, ...], reds: int
) -> None:
    """If it says none, by what their numbers suggest."""
    write_images(tmp_path, count=1)
    produces = {"image": {"dtype": "uint8", "shape": shape, **called}}
    transform = {"resize": {"height": 24, "width": 32}, "custom": [{"name": "any", "produces": produces}]}
    _, plan, _ = open_stream(make_spec(tmp_path, transform=transform))
    image = np.zeros(shape, np.uint8)
    image[0] = 255
    fields = {"image": image, "label": np.array(0), "item": np.array(0), "patch": np.array(0)}
    assert reds == colours(make_sheet("t", plan, [Sample(0, "0", fields)], 48), (255, 0, 0))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["-o", "sheet.txt"], ["--output 'sheet.txt'", ".png, .jpg or .webp"]),
        (["-o", "sheet.pdf"], ["--output 'sheet.pdf'", ".png, .jpg or .webp"]),  # which Pillow would write
        (["-o", "sheet"], ["--output 'sheet'", ".png, .jpg or .webp"]),
        (["-o", "nowhere/sheet.png"], ["no folder 'nowhere'"]),
        (["--stream", "test"], ["--stream 'test'", "train"]),
        (["--count", "0"], ["--count '0'"]),
        (["--epoch", "-1"], ["--epoch '-1'"]),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: list[str]
) -> None:
    """The flag, its value and what would be right."""
    write_images(tmp_path / "photos", count=1)
    (tmp_path / "spec.json").write_text(json.dumps(make_spec(tmp_path / "photos")), encoding="utf-8")
    assert 2 == main([str(tmp_path / "spec.json"), *options])
    told = capsys.readouterr().err
    for word in words:
        assert word in told


def test_a_sheet_names_files_that_cannot_be_written(tmp_path: Path) -> None:
    """A folder under the name of the file, for instance."""
    (tmp_path / "sheet.png").mkdir()
    write_images(tmp_path / "photos", count=1)
    sheet = make_sheet("t", open_stream(make_spec(tmp_path / "photos"))[1], [], 64)
    with pytest.raises(SpecError, match="cannot be written"):
        save(sheet, check_output(str(tmp_path / "sheet.png")))


def test_pictures_look_like_the_files_they_are_made_of(tmp_path: Path) -> None:
    """A sample of a known picture, on the sheet at a known place."""
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    pixels = picture(3, 0, 24, 32)
    (tmp_path / "photos" / "cat" / "one.png").write_bytes(encode(pixels, "PNG"))
    sheet = np.asarray(preview(tmp_path, make_spec(tmp_path / "photos"), "--side", "64").convert("RGB"))
    windows = np.lib.stride_tricks.sliding_window_view(sheet[..., 0], (24, 32))
    assert (windows == pixels[..., 0]).all(axis=(2, 3)).any()
