"""`penstock convert`: the shards hold what the source held, however often the program was killed."""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.images import encode, picture, write_images
from support.streams import DEADLINE_S

from penstock.commands.convert import main
from penstock.protocol.messages import TaskKey
from penstock.protocol.spec.spec import parse_spec
from penstock.sources.base import open_reader
from penstock.ventilator.sources.catalog import Catalog
from penstock.worker.imaging.decode import Decoder

pytestmark = pytest.mark.integration

Sample = tuple[bytes, str]


def write_spec(folder: Path, root: Path, **source: Any) -> Path:
    """Write a spec of one stream; return its file."""
    fields = {"kind": "directory", "root": "photos", **source}
    lines = [f"{name} = {json.dumps(value)}" for name, value in fields.items()]
    text = f'[roots]\nphotos = "{root}"\n[streams.train]\ntransform = {{ resize = [8, 8] }}\n[streams.train.source]\n'
    (folder / "spec.toml").write_text(text + "\n".join(lines), encoding="utf-8")
    return folder / "spec.toml"


def samples(spec: dict[str, Any]) -> list[Sample]:
    """Return the bytes and the class of every item of a spec's source, in its order."""
    spec["streams"]["train"] |= {"transform": {"resize": [8, 8]}, "shuffle": False, "task_items": 8}
    parsed = parse_spec(spec)
    catalog = Catalog.open(parsed, parsed.roots)
    (plan,) = catalog.plans
    reader, found = open_reader(plan, parsed.roots), list[Sample]()
    for ordinal in range(plan.geometry.tasks_per_epoch):
        loaded = reader.read(catalog.task(TaskKey(stream="train", ordinal=ordinal), 0))
        for content, label in zip(loaded.contents, loaded.labels.tolist(), strict=True):
            assert isinstance(content, bytes)
            found.append((content, plan.classes[label] if label >= 0 else ""))
    return found


def converted(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> list[Sample]:
    """Convert; return the samples of the source that the command prints."""
    assert status == main(list(arguments))
    text = capsys.readouterr().out
    printed = re.search(r"\[roots\].*?(?=\n\n(?:left out|$)|\Z)", text, re.DOTALL)
    assert printed is not None, text
    return samples(tomllib.loads(printed[0].split("\nleft out")[0]))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Return a folder with 40 images of two classes, two of them no JPEG."""
    root = tmp_path / "photos"
    write_images(root, ("cat", "dog"), 20)
    (root / "cat/0001.png").write_bytes(encode(picture(5), "PNG"))
    (root / "dog/0000a.webp").write_bytes(encode(picture(6), "WEBP"))
    return root


@pytest.mark.parametrize("to", ["tar", "parquet"])
@pytest.mark.parametrize("mb", [0.01, 100.0])
def test_shards_hold_the_bytes_the_labels_and_the_order(
    to: str, mb: float, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In many shards and in one; classes keep their numbers, in another order than the alphabet's, too."""
    spec = write_spec(tmp_path, photos, classes=["dog", "cat"])
    found = converted(capsys, str(spec), "-o", str(tmp_path / "out"), "--to", to, "--shard-mb", str(mb))
    assert samples(tomllib.loads(spec.read_text(encoding="utf-8"))) == found
    assert (1 if mb > 1 else 4) <= len(list((tmp_path / "out").glob(f"train-*.{to}")))


def test_a_source_without_labels_stays_without(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In both formats."""
    paths = sorted(file.relative_to(photos).as_posix() for file in photos.rglob("*.jpg"))
    (photos / "list.csv").write_text("\n".join(["path", *paths]), encoding="utf-8")
    spec = write_spec(tmp_path, photos, kind="manifest", path="list.csv", label_column="")
    for to in ("tar", "parquet"):
        found = converted(capsys, str(spec), "-o", str(tmp_path / to), "--to", to)
        assert [((photos / path).read_bytes(), "") for path in paths] == found


def test_arrays_become_images_with_every_level(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As PNG, without loss."""
    pixels = np.stack([picture(number, 0, 20, 30) for number in range(20)])
    np.save(tmp_path / "x.npy", pixels)
    np.save(tmp_path / "y.npy", np.arange(20) % 3)
    spec = write_spec(tmp_path, tmp_path, kind="arrays", images="x.npy", labels="y.npy")
    found = converted(capsys, str(spec), "-o", str(tmp_path / "out"))
    assert [str(number % 3) for number in range(20)] == [label for _, label in found]
    assert (pixels == np.stack([np.asarray(Image.open(io.BytesIO(content))) for content, _ in found])).all()


def test_images_are_made_smaller_and_written_anew_as_asked(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The shorter side has the size that was asked for; smaller images keep their bytes unless a quality is given."""
    (photos / "cat/big.jpg").write_bytes(encode(picture(9, 0, 300, 100), quality=95))
    spec = write_spec(tmp_path, photos)
    before = samples(tomllib.loads(spec.read_text(encoding="utf-8")))
    found = converted(capsys, str(spec), "-o", str(tmp_path / "a"), "--resize", "60")
    changed = [content for (content, _), (old, _) in zip(found, before, strict=True) if content != old]
    assert [(60, 180)] == [Image.open(io.BytesIO(content)).size for content in changed]
    found = converted(capsys, str(spec), "-o", str(tmp_path / "b"), "--quality", "40")
    assert {"JPEG"} == {Image.open(io.BytesIO(content)).format for content, _ in found}
    assert sum(len(content) for content, _ in found) < sum(len(content) for content, _ in before)


def test_what_cannot_be_converted_is_left_out_and_listed(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By file and reason, and the exit status says so; too many are an error, and leave no shard."""
    gone = sorted((photos / "cat").glob("*.jpg"))[3]
    gone.write_bytes(b"<html>gone</html>")
    spec = write_spec(tmp_path, photos)
    out = tmp_path / "out"
    found = converted(capsys, str(spec), "-o", str(out), status=1)
    assert 41 == len(found)
    [failed] = [json.loads(file.read_text(encoding="utf-8")) for file in out.glob("*.failed.jsonl")]
    assert (f"cat/{gone.name}", "not an image of a known format: it looks like a web page") == (
        failed["path"],
        failed["reason"],
    )
    for file in (photos / "dog").iterdir():
        file.write_bytes(b"gone")
    assert 2 == main([str(spec), "-o", str(tmp_path / "more")])
    assert "failure_budget" in capsys.readouterr().err
    assert [] == list((tmp_path / "more").glob("*.tar*"))


def test_a_killed_conversion_goes_on(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whenever it was killed: what was finished stays, nothing else has a shard's name, and the end is the same."""
    write_images(photos, ("cat", "dog"), 150, seed=7)
    spec, out, whole = write_spec(tmp_path, photos), tmp_path / "out", tmp_path / "whole"
    arguments = [str(spec), "--shard-mb", "0.02", "--quality", "70"]
    for least in (2, 6):
        code = "import sys; from penstock.commands.convert import main; sys.exit(main(sys.argv[1:]))"
        process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments, "-o", str(out), "--workers", "1"], stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + DEADLINE_S
        while process.poll() is None and len(list(out.glob("*.tar"))) < least:
            assert time.monotonic() < deadline
            time.sleep(0.002)  # looks again
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        process.wait(DEADLINE_S)
    finished = {file.name: file.stat().st_ino for file in out.glob("*.tar")}
    assert 6 <= len(finished)
    found = converted(capsys, *arguments, "-o", str(out))
    assert found == converted(capsys, *arguments, "-o", str(whole))
    assert finished == {name: (out / name).stat().st_ino for name in finished}
    files = {file.name: file.read_bytes() for file in whole.iterdir()}
    assert files == {file.name: file.read_bytes() for file in out.iterdir() if not file.name.endswith(".part")}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--quality", "50"], "holds shards that were made of other items, or by other settings (changed: quality)"),
        (["--stream", "test"], "no such stream; there are: train"),
        (["--to", "zip"], "zip"),
    ],
)
def test_mistakes_are_told(
    more: list[str], words: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Other settings in the same folder, a folder of other files, no folder, no such stream."""
    spec, out = write_spec(tmp_path, photos), tmp_path / "out"
    assert 0 == main([str(spec), "-o", str(out)])
    assert 2 == main([str(spec), "-o", str(out), *more])
    assert words in capsys.readouterr().err
    assert 2 == main([str(spec), "-o", str(photos)])
    assert "holds other files, such as 'cat'" in capsys.readouterr().err
    assert 2 == main([str(spec)])
    assert "give a folder for the shards" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ("resize = [8, 8]", 'resize = [8, 8], color = "gray"', "color"),
        ("resize = [8, 8]", "resize = [8, 8], exif_orientation = true", "exif_orientation"),
        ("resize = [8, 8]", "resize = [8, 8], max_megapixels = 0.5", "max_megapixels"),
        ("resize = [8, 8]", "resize = [8, 8], max_file_mb = 0.5", "max_file_mb"),
        ('/photos"', '/others"', "roots"),
        ("streams.train", "streams.test", "stream"),
    ],
)
def test_shards_of_two_conversions_are_never_mixed(
    old: str, new: str, changed: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever decides their bytes or names: the decoding, the root even if it has equal names, the stream's name."""
    shutil.copytree(photos, tmp_path / "others")
    spec, out = write_spec(tmp_path, photos), tmp_path / "out"
    assert 0 == main([str(spec), "-o", str(out), "--quality", "70"])
    spec.write_text(spec.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    (out / "train-000000.tar").unlink()
    assert 2 == main([str(spec), "-o", str(out), "--quality", "70"])
    assert f"(changed: {changed})" in capsys.readouterr().err
    assert [] == list(out.glob("*.tar"))


@pytest.mark.parametrize("letter", ["\u2028", "\u2029", "\x85", "\n"])
def test_paths_with_any_letters_are_listed_and_read_again(
    letter: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also those that end a line elsewhere; the same command then finds all shards."""
    (photos / f"cat/a{letter}a.jpg").write_bytes((photos / "cat/0001.png").read_bytes())
    (photos / f"cat/a{letter}b.jpg").write_bytes(b"gone")
    spec, out = write_spec(tmp_path, photos), tmp_path / "out"
    assert 43 == len(converted(capsys, str(spec), "-o", str(out), status=1))
    assert 1 == main([str(spec), "-o", str(out)])
    text = capsys.readouterr().out
    assert "1 of 1 shards are there" in text
    assert "1 image left out in all" in text


def test_an_image_too_long_for_jpeg_is_left_out(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As any other that cannot be converted; the rest is written."""
    (photos / "cat/long.png").write_bytes(encode(Image.new("RGB", (65_501, 4)), "PNG"))
    (photos / "cat/less.png").write_bytes(encode(Image.new("RGB", (65_500, 4)), "PNG"))
    spec, out = write_spec(tmp_path, photos), tmp_path / "out"
    assert 43 == len(converted(capsys, str(spec), "-o", str(out), "--quality", "80", status=1))
    [failed] = [json.loads(file.read_text(encoding="utf-8")) for file in out.glob("*.failed.jsonl")]
    assert ("cat/long.png", "65501 × 4 pixels: a JPEG has at most 65500 a side") == (failed["path"], failed["reason"])


@pytest.mark.parametrize("to", ["tar", "parquet"])
@pytest.mark.parametrize("broken", ["cat/00000.jpg", "dog/00001.jpg"])
def test_a_shard_whose_only_item_is_broken_is_empty(
    broken: str, to: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first one or the last; the shards are read with it, and the same command finds nothing to do."""
    write_images(tmp_path / "photos", ("cat", "dog"), 2)
    (tmp_path / "photos" / broken).write_bytes(b"gone")
    arguments = [str(write_spec(tmp_path, tmp_path / "photos")), "-o", str(tmp_path / "out"), "--to", to]
    found = converted(capsys, *arguments, "--shard-mb", "0.001", status=1)
    files = sorted((tmp_path / "photos").rglob("*.jpg"))
    assert [(file.read_bytes(), file.parent.name) for file in files if file.read_bytes() != b"gone"] == found
    assert 4 == len(list((tmp_path / "out").glob(f"*.{to}")))
    assert 1 == main([*arguments, "--shard-mb", "0.001"])
    assert "4 of 4 shards are there" in capsys.readouterr().out


@pytest.mark.parametrize("exif", ["true", "false"])
def test_images_written_anew_lie_as_the_stream_decodes_them(
    exif: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those that are made smaller, and those that keep their bytes: all turned by EXIF, or none."""
    tag = Image.Exif()
    tag[0x0112] = 6  # turned by a quarter
    (tmp_path / "photos/cat").mkdir(parents=True)
    for name, (height, width) in {"big": (100, 150), "small": (40, 60)}.items():
        content = encode(picture(3, 0, height, width), exif=tag)
        (tmp_path / f"photos/cat/{name}.jpg").write_bytes(content)
    spec = write_spec(tmp_path, tmp_path / "photos")
    setting = f"resize = [8, 8], exif_orientation = {exif}"
    spec.write_text(spec.read_text(encoding="utf-8").replace("resize = [8, 8]", setting), encoding="utf-8")
    found = converted(capsys, str(spec), "-o", str(tmp_path / "out"), "--resize", "40")
    decoder = Decoder("rgb", exif_orientation=exif == "true")
    assert 2 * [(60, 40, 3) if exif == "true" else (40, 60, 3)] == [
        decoder.decode(content).shape for content, _ in found
    ]
