"""Errors and warnings about sources, from a whole stack and from `penstock check`."""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.streams import DEADLINE_S, make_images, make_spec, make_stream, run_stack

from penstock.commands.check import main as check
from penstock.protocol.errors import SourceError, StackError

pytestmark = pytest.mark.integration


def _other_classes(photos: Path) -> dict[str, Any]:
    for name in ("aardvark", "cat", "dog"):
        shutil.copytree(photos / "cat", photos / "train" / name)
    for name in ("cat", "zebra"):
        shutil.copytree(photos / "cat", photos / "validation" / name)
    source = {"kind": "directory", "root": "photos"}
    return make_spec(photos) | {
        "streams": {name: make_stream(source=source | {"path": name}) for name in ("train", "validation")}
    }


def _missing_archive(photos: Path) -> dict[str, Any]:
    return make_spec(photos) | {"roots": {"photos": "zip://::/missing.zip"}}


def _cut_archive(photos: Path) -> dict[str, Any]:
    archive = Path(shutil.make_archive(str(photos.parent / "set"), "zip", photos))
    archive.write_bytes(archive.read_bytes()[:-100])
    return make_spec(photos) | {"roots": {"photos": f"zip://::{archive}"}}


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_other_classes, r"'train' and 'validation' number their classes differently: 'cat' is 1 and 0"),
        (_missing_archive, r"root zip://::/missing\.zip: no such file"),
        (_cut_archive, r"root zip://::.*/set\.zip: fsspec cannot open it: BadZipFile"),
    ],
)
def test_a_source_that_cannot_be_used_stops_a_stack_at_once(
    spoil: Callable[[Path], dict[str, Any]], words: str, tmp_path: Path
) -> None:
    """The ventilator says it in one line and is not started again: it would say the same."""
    photos = make_images(tmp_path / "photos", each=4)
    began = time.monotonic()
    with pytest.raises((SourceError, StackError), match=words):
        run_stack(spoil(photos), workers=1, run_dir=tmp_path / "run").__enter__()
    assert time.monotonic() - began < DEADLINE_S
    log = "".join(file.read_text(encoding="utf-8") for file in (tmp_path / "run").glob("ventilator*.log"))
    assert "Traceback" not in log


def test_check_tells_what_was_passed_over_and_which_labels_differ(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By suffix, in the tables and as JSON."""
    photos = make_images(tmp_path / "photos", each=4)
    for name in ("a.txt", "b.TXT", "plain"):
        (photos / "cat" / name).touch()
    text = f'[roots]\nphotos = "{photos}"\n'
    for stream, classes in (("train", '["cat", "dog"]'), ("validation", '["dog", "cat"]')):
        text += f'[streams.{stream}]\nsource = {{ kind = "directory", root = "photos", classes = {classes} }}\n'
        text += "transform = { resize = { height = 40, width = 48 } }\n"
    spec = tmp_path / "spec.toml"
    spec.write_text(text, encoding="utf-8")
    assert 0 == check([str(spec)])
    printed = " ".join(capsys.readouterr().out.split())
    assert "stream 'train': 3 files passed over while listing: 2 .txt, 1 no suffix" in printed
    assert "'cat' is 0 and 1" in printed
    assert 0 == check([str(spec), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert {".txt": 2, "no suffix": 1} == told["streams"][0]["passed_over"]
    assert 3 == len(told["warnings"])
