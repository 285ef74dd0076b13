"""Which files are images by their suffix, and what is said of the others."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from support.images import encode, picture
from support.sources.listings import directory, items, touch

from penstock.sources.image_formats import FORMATS, SUFFIXES
from penstock.sources.suffixes import _USUAL, in_words
from penstock.worker.imaging.decode import Decoder


def test_every_suffix_of_a_format_that_is_decoded_is_listed(tmp_path: Path) -> None:
    """In any case; a file that ends otherwise is counted."""
    good = ["a.jpg", "b.JPG", "c.jfif", "d.jpe", "e.pgm", "f.avif", "g.jp2", "h.J2K", "i.pbm", "j.pnm", "k.mpo"]
    bad = ["plain", "m.txt", "n.TXT", "o.pfm", ".hidden.png"]
    touch(tmp_path, *(f"cat/{name}" for name in good + bad), "p.jpg", "q.csv")
    found = directory(tmp_path)
    assert [f"cat/{name}" for name in good] == [path for path, _ in items(found)]
    assert {"no suffix": 1, ".txt": 2, ".pfm": 1, ".csv": 1, "images in no class folder": 1} == found.passed_over


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_of_each_format_is_listed_and_decoded(name: str) -> None:
    """The list of suffixes follows the decoder's formats, and those the installed Pillow."""
    suffixes = [suffix for suffix, written in Image.registered_extensions().items() if written == name]
    assert set() == {suffix.removeprefix(".").encode() for suffix in suffixes if suffix != ".pfm"} - SUFFIXES
    data = encode(picture(3), name)
    assert name == Image.open(io.BytesIO(data)).format
    assert (48, 64, 3) == Decoder("rgb").decode(data).shape


def test_what_is_listed_is_what_some_format_has() -> None:
    """No suffix of a format that is not decoded: such a file would be quarantined."""
    known = Image.registered_extensions()
    assert {*FORMATS, "MPO"} == {known[f".{suffix.decode()}"] for suffix in SUFFIXES}


def test_passed_over_files_are_told_in_a_sentence() -> None:
    """The most frequent suffix first; nothing, if none was passed over."""
    assert "" == in_words({})
    assert "1 file passed over while listing: 1 .txt" == in_words({".txt": 1})
    many = {f".{number}": 1 for number in range(12)} | {"no suffix": 2000}
    assert in_words(many).startswith("2,012 files passed over while listing: 2,000 no suffix, 1 .0, 1 .1")
    assert in_words(many).endswith("and 3 more suffixes")


def test_a_folder_with_usual_names_is_listed_without_pillow(tmp_path: Path) -> None:
    """Its import takes longer than the listing of a thousand files; every Pillow has these formats."""
    assert set() == _USUAL - SUFFIXES
    touch(tmp_path, "cat/a.jpg", "cat/b.JPEG", "dog/c.png")
    program = (
        "import sys\n"
        "from penstock.sources.directory import DirectorySource, list_directory\n"
        "found = list_directory(DirectorySource(kind='directory', root='x'), {'x': sys.argv[1]})\n"
        "print(len(found), 'PIL' in sys.modules)"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    assert "3 False" == subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()
