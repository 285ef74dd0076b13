"""Directory trees: what is listed, in which order, and what every mistake is called."""

import os
from pathlib import Path
from typing import Any

import pytest
from support.images import encode, open_to_all, picture, unprivileged, write_images
from support.sources.listings import directory, items, touch

from penstock.protocol.errors import SourceError
from penstock.sources.base import list_source
from penstock.sources.directory import DirectorySource


def test_a_tree_is_listed_class_by_class_and_by_bytes(tmp_path: Path) -> None:
    """The order is that of the UTF-8 bytes of whole paths, whatever the order on disk."""
    touch(tmp_path, "dog/b.jpg", "dog/a.jpg", "cat/z.jpg", "cat/ä.jpg", "cat/Z.jpg", "cat/b-c.jpg", "cat/b/c.jpg")
    found = directory(tmp_path)
    assert ("cat", "dog") == found.classes
    expected = ["cat/Z.jpg", "cat/b-c.jpg", "cat/b/c.jpg", "cat/z.jpg", "cat/ä.jpg", "dog/a.jpg", "dog/b.jpg"]
    assert expected == [path for path, _ in items(found)]
    assert [0, 0, 0, 0, 0, 1, 1] == [label for _, label in items(found)]
    assert {"cat": 5, "dog": 2} == found.counts()


def test_suffixes_count_in_any_case_and_other_files_do_not(tmp_path: Path) -> None:
    """Images are told by their suffix alone; hidden files, files without a suffix and other files are left out."""
    good = ["a.jpg", "b.JPG", "c.JpEg", "d.PNG", "e.webp", "f.bmp", "g.gif", "h.tif", "i.TIFF", "j.ppm", "k.tar.jpg"]
    bad = ["l.txt", "jpg", ".jpg", ".hidden.jpg", "m.jpg.part", "n.jp", ".hidden/o.jpg", "p.jpg~"]
    touch(tmp_path, *(f"x/{name}" for name in good + bad))
    assert [f"x/{name}" for name in good] == [path for path, _ in items(directory(tmp_path))]


def test_names_come_back_exactly_as_on_disk(tmp_path: Path) -> None:
    """Spaces, backslashes, newlines and both Unicode forms of one letter survive, each for itself."""
    names = [
        "a b.jpg",
        "a\\b.jpg",
        "line\nbreak.jpg",
        "caf\u00e9.jpg",
        "cafe\u0301.jpg",
        "日本.jpg",
        "🐈.jpg",
        "%2e.jpg",
    ]
    touch(tmp_path, *(f"my cats/{name}" for name in names))
    found = directory(tmp_path)
    assert sorted(names, key=str.encode) == [path.removeprefix("my cats/") for path, _ in items(found)]
    assert all((tmp_path / path).is_file() for path, _ in items(found))


def test_paths_are_relative_to_the_root_not_to_the_source(tmp_path: Path) -> None:
    """A source in a folder of the root yields paths that begin with the folder, whatever slashes the spec had."""
    touch(tmp_path, "set/train/cat/a.jpg")
    for path in ("set/train", "set/train/", "./set/train", "set//train"):
        found = directory(tmp_path, path=path)
        assert [("set/train/cat/a.jpg", 0)] == items(found), path


def test_given_classes_fix_the_labels_and_leave_out_other_folders(tmp_path: Path) -> None:
    """Labels follow the given list; a folder that is not in it is ignored, even an empty one."""
    touch(tmp_path, "dog/a.jpg", "cat/a.jpg", "unlabelled/a.jpg")
    (tmp_path / "empty").mkdir()
    assert [("dog/a.jpg", 0), ("cat/a.jpg", 1)] == items(directory(tmp_path, classes=("dog", "cat")))


def test_a_name_that_is_not_utf8_is_refused_by_name(tmp_path: Path) -> None:
    """JSON cannot carry such a name, so the error shows it and says what to do."""
    touch(tmp_path, "cat/a.jpg")
    try:
        (tmp_path / os.fsdecode(b"cat/\xff\xfe.jpg")).touch()
    except OSError as error:
        pytest.skip(f"NOT TESTED: this filesystem refuses such names: {error}")
    with pytest.raises(SourceError, match=r"cat/\\xff\\xfe\.jpg.*not valid UTF-8.*rename"):
        directory(tmp_path)


def test_folders_named_like_images_are_entered(tmp_path: Path) -> None:
    """A folder called x.jpg is a folder."""
    touch(tmp_path, "cat/x.jpg/a.jpg", "cat/b.jpg")
    assert ["cat/b.jpg", "cat/x.jpg/a.jpg"] == [path for path, _ in items(directory(tmp_path))]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"path": "nowhere"}, r"nowhere: no such folder \(source\.path = 'nowhere' in root 'photos'\)"),
        ({"path": "cat/a.jpg"}, r"cat/a\.jpg: it is a file: for a manifest give kind = 'manifest'"),
        ({"path": "cat"}, r"cat holds no folder that could be a class, but 1 images: put each class into a folder"),
        ({"path": "void"}, r"void holds no folder that could be a class$"),
        ({}, r"class 'texts' has no images: .*/texts holds no file that ends in apng, .*remove the folder"),
        ({"classes": ("cat", "cow")}, r"class 'cow' has no folder in .*; folders there: cat, texts, void"),
        ({"classes": ("cat", "..")}, r"class '\.\.' has no folder"),
        ({"classes": ("cat", "cat/.")}, r"class 'cat/\.' has no folder"),
        ({"classes": ()}, r"classes = \[\]: name at least one class"),
        ({"classes": ("cat", "cat")}, r"classes: 'cat' is given twice"),
    ],
)
def test_every_mistake_in_a_tree_is_named(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    """The error says what is wrong, where, and what to do."""
    touch(tmp_path, "cat/a.jpg", "texts/b.txt")
    (tmp_path / "void").mkdir()
    with pytest.raises(SourceError, match=message):
        directory(tmp_path, **fields)


def test_an_unmapped_or_missing_root_says_how_to_map_it(tmp_path: Path) -> None:
    """Both name the root and the flag."""
    source = DirectorySource(kind="directory", root="photos")
    with pytest.raises(SourceError, match=r"'photos' \(mapped: other\): give --root photos=/path"):
        list_source(source, {"other": "/"})
    with pytest.raises(SourceError, match=r"no folder .*/gone: mount it, or give --root photos=/path"):
        list_source(source, {"photos": str(tmp_path / "gone")})


def test_an_unreadable_folder_is_named(tmp_path: Path) -> None:
    """Listing must not pass over a folder that it may not read."""
    touch(tmp_path, "cat/a.jpg", "cat/secret/b.jpg")
    (tmp_path / "cat/secret").chmod(0)
    open_to_all(tmp_path)
    with unprivileged(), pytest.raises(SourceError, match=r"cat/secret: cannot read the folder: Permission denied"):
        directory(tmp_path)


def test_the_generated_and_the_real_images_are_listed(tmp_path: Path, shared_data: Path) -> None:
    """The helper's tree and the cats and dogs are listed whole."""
    write_images(tmp_path, ("cat", "dog"), 3)
    assert {"cat": 3, "dog": 3} == directory(tmp_path).counts()
    real = directory(shared_data / "cats-dogs")
    on_disk = sorted(
        str(path.relative_to(shared_data / "cats-dogs")) for path in (shared_data / "cats-dogs").glob("*/*.jpg")
    )
    assert on_disk == [path for path, _ in items(real)]
    assert {"cat", "dog"} == set(real.classes)
    (tmp_path / "cat/new.png").write_bytes(encode(picture(9), "PNG"))
    assert 7 == len(directory(tmp_path))
