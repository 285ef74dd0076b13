"""Tar shards through a whole stack, next to the same images in class folders."""

from pathlib import Path

import pytest
from support.images import write_images
from support.sources.tars import sample, write_tar
from support.streams import digest, epochs, make_spec, make_stream, run_stack

from penstock.commands.check import main as check

pytestmark = pytest.mark.integration


def test_shards_give_the_samples_of_the_same_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Shuffled and augmented: image, label and item; and `penstock check` lists them."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    files = write_images(tmp_path / "photos", ("cat", "dog"), 12)
    for number, start in enumerate(range(0, len(files), 9)):
        members = [
            member
            for place, file in enumerate(files[start : start + 9])
            for member in sample(f"{place:06}", file.read_bytes(), file.parent.name)
        ]
        write_tar(tmp_path / f"photos/train-{number}.tar", members)
    sources = {
        "folders": {"kind": "directory", "root": "photos"},
        "shards": {"kind": "tar", "root": "photos", "path": "train-{0..2}.tar"},
    }
    streams = {name: make_stream(source=source) for name, source in sources.items()}
    with run_stack(make_spec(tmp_path / "photos") | {"streams": streams}, workers=1) as stack:
        assert digest(epochs(stack.feed("folders"), 1)) == digest(epochs(stack.feed("shards"), 1))
    spec = f'[roots]\nphotos = "{tmp_path}/photos"\n[streams.train]\n'
    spec += "transform = { resize = { height = 9, width = 9 } }\n"
    spec += 'source = { kind = "tar", root = "photos", path = "train-*.tar" }\n'
    (tmp_path / "spec.toml").write_text(spec, encoding="utf-8")
    assert 0 == check([str(tmp_path / "spec.toml")])
    assert "24 items" in capsys.readouterr().out
