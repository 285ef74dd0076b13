"""Roots that are URLs and cannot be opened: every file system's own errors, as one line that names the root."""

import re
import zipfile
from pathlib import Path

import pytest

from penstock.protocol.errors import SourceError
from penstock.protocol.storage.urls import Remote, shown
from penstock.sources.base import list_source
from penstock.sources.directory import DirectorySource
from penstock.sources.manifest import ManifestSource


def archive(folder: Path) -> Path:
    """Return an archive with two classes."""
    with zipfile.ZipFile(folder / "set.zip", "w") as opened:
        for name in ("cat/a.jpg", "dog/b.jpg"):
            opened.writestr(name, bytes(500))
    return folder / "set.zip"


@pytest.mark.parametrize("cut", [0, 10, 600, -1, -30])
def test_an_archive_that_was_cut_is_one_line_that_names_the_root(cut: int, tmp_path: Path) -> None:
    """Wherever it was cut, for a tree and for a manifest."""
    file = archive(tmp_path)
    file.write_bytes(file.read_bytes()[:cut])
    sources = (
        DirectorySource(kind="directory", root="photos"),
        ManifestSource(kind="manifest", root="photos", path="m.csv"),
    )
    for source in sources:
        with pytest.raises(SourceError, match=re.escape(f"root zip://::{file}")) as caught:
            list_source(source, {"photos": f"zip://::{file}"})
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "zip://::/missing.zip",
        "tar://::/missing.tar",
        "zip://::http://127.0.0.1:9/a.zip",
        "reference://::/missing.json",
        "github://:@",
        "http://[",
        "nothing://x",
        "zip://::nothing://x",
    ],
)
def test_a_root_that_cannot_be_opened_is_one_line_that_names_it(url: str) -> None:
    """At once, without a traceback and without a second try: it will not go away."""
    with pytest.raises(SourceError, match=re.escape(f"root {shown(url)}: ")) as caught:
        Remote(url)
    assert "\n" not in str(caught.value)


def test_an_archive_is_listed_like_a_folder(tmp_path: Path) -> None:
    """The same order and the same digest."""
    file = archive(tmp_path)
    with zipfile.ZipFile(file) as opened:
        opened.extractall(tmp_path / "folder")
    source = DirectorySource(kind="directory", root="photos")
    here = list_source(source, {"photos": str(tmp_path / "folder")})
    assert here.digest == list_source(source, {"photos": f"zip://::{file}"}).digest
