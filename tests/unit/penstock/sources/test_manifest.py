"""Manifests: which rows are listed, how labels are sorted, and what every mistake is called."""

from pathlib import Path
from typing import Any

import pytest
from support.sources.listings import items, manifest, write_csv

from penstock.protocol.errors import SourceError


def test_a_csv_is_listed_in_its_own_order(tmp_path: Path) -> None:
    """Quotes, a byte order mark, further columns, empty lines and files named twice are all fine."""
    text = '\ufefflabel,id,path\ndog,1,"b, c.jpg"\n\ncat,2,"say ""hi"".jpg"\r\ndog,3,ä.jpg\ndog,4,ä.jpg\n'
    (tmp_path / "list.csv").write_text(text, encoding="utf-8", newline="")
    found = manifest(tmp_path, path="list.csv")
    assert ("cat", "dog") == found.classes
    assert [("b, c.jpg", 1), ('say "hi".jpg', 0), ("ä.jpg", 1), ("ä.jpg", 1)] == items(found)
    assert {"cat": 1, "dog": 3} == found.counts()


def test_manifest_paths_are_below_the_images_folder(tmp_path: Path) -> None:
    """`images` is put before every path; columns may have other names."""
    (tmp_path / "store/all").mkdir(parents=True)
    write_csv(tmp_path / "store/list.csv", [("file", "kind"), ("x/a.jpg", "cat")])
    found = manifest(tmp_path, path="store/list.csv", images="store/all/", path_column="file", label_column="kind")
    assert [("store/all/x/a.jpg", 0)] == items(found)


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["10", "9", "0", "9"], ("0", "9", "10")),
        (["10", "2", "1", "-1"], ("-1", "1", "2", "10")),
        (["1.5", "0.25", "-0.5"], ("-0.5", "0.25", "1.5")),
        (["10", "9", "x"], ("10", "9", "x")),
        (["10", "9", ".5"], (".5", "10", "9")),
        (["b", "a", "ä", "B"], ("B", "a", "b", "ä")),
        (["2", "02", "10"], ("02", "2", "10")),
        (["9" * 30, "8"], ("8", "9" * 30)),
    ],
)
def test_labels_sort_as_numbers_only_if_all_are(tmp_path: Path, labels: list[str], classes: tuple[str, ...]) -> None:
    """Ten comes after nine, also below zero and with decimals; one label that is no number makes all of them names."""
    write_csv(tmp_path / "m.csv", [("path", "label"), *((f"{index}.jpg", label) for index, label in enumerate(labels))])
    found = manifest(tmp_path, path="m.csv")
    assert classes == found.classes
    assert labels == [found.classes[label] for _, label in items(found)]


def test_given_classes_fix_a_manifests_labels(tmp_path: Path) -> None:
    """A class without a row is fine in a manifest: a validation list may lack one."""
    write_csv(tmp_path / "m.csv", [("path", "label"), ("a.jpg", "dog"), ("b.jpg", "cat")])
    found = manifest(tmp_path, path="m.csv", classes=("dog", "cow", "cat"))
    assert [("a.jpg", 0), ("b.jpg", 2)] == items(found)
    assert {"dog": 1, "cow": 0, "cat": 1} == found.counts()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("/etc/passwd", "cat"), r"m\.csv, line 3: path = '/etc/passwd': must be relative .*, not absolute"),
        (("x/../../b.jpg", "cat"), r"line 3: path = 'x/\.\./\.\./b\.jpg': must not have '\.\.'"),
        (("x\\b.jpg", "cat"), r"line 3: path = 'x\\\\b\.jpg': must have '/' .* no backslash"),
        (("", "cat"), r"line 3: path = '': is empty"),
        (("b.jpg", ""), r"line 3: label = '': the label is empty"),
        (("b.jpg",), r"line 3: the row has 1 fields, the header 2: 'b\.jpg'; put quotes around"),
        (("a", " b.jpg", "cat"), r"line 3: the row has 3 fields, the header 2: 'a', ' b\.jpg', 'cat'"),
        (("x" * 5000, "cat"), r"line 3: the path below the root is longer than 4096 bytes"),
    ],
)
def test_a_bad_row_is_named_by_file_line_and_value(tmp_path: Path, row: tuple[str, ...], message: str) -> None:
    """One bad row stops the listing, and the error says which."""
    write_csv(tmp_path / "m.csv", [("path", "label"), ("a..b/..c.jpg", "cat"), row])
    with pytest.raises(SourceError, match=message):
        manifest(tmp_path, path="m.csv")


@pytest.mark.parametrize(
    ("content", "fields", "message"),
    [
        (b"file;label\na.jpg;cat\n", {}, r"m\.csv: has no column 'path' \(source\.path_column\); .*'file;label'"),
        (b"path,kind\n", {}, r"has no column 'label' \(source\.label_column\); its columns: 'path', 'kind'"),
        (b"path,label,path\n", {}, r"has more than one column 'path'"),
        (b"", {}, r"has no column 'path' .*its columns: none"),
        (b"path,label\n", {}, r"m\.csv: the manifest has no rows"),
        (b"path,label\n\xff.jpg,cat\n", {}, r"m\.csv: not UTF-8 text.*save the manifest as UTF-8"),
        (b'path,label\na.jpg,cat\n"b.jpg,cat\n', {}, r"m\.csv, after line 2: not valid CSV"),
        (
            b"path,label\na.jpg,cow\n",
            {"classes": ("cat",)},
            r"line 2: label = 'cow': not among source.classes \('cat'\)",
        ),
        (b"path,label\na.jpg,cat\n", {"images": "gone"}, r"root 'photos' has no folder 'gone' \(source\.images\)"),
    ],
)
def test_a_bad_manifest_is_named(tmp_path: Path, content: bytes, fields: dict[str, Any], message: str) -> None:
    """What is wrong with the file as a whole is said with its columns or settings."""
    (tmp_path / "m.csv").write_bytes(content)
    with pytest.raises(SourceError, match=message):
        manifest(tmp_path, path="m.csv", **fields)


def test_a_missing_or_escaping_manifest_is_named(tmp_path: Path) -> None:
    """The manifest itself must lie in the root, too."""
    (tmp_path / "root").mkdir()
    with pytest.raises(SourceError, match=r"m\.csv: no such file \(source\.path = 'm\.csv' in root 'photos'\)"):
        manifest(tmp_path / "root", path="m.csv")
    write_csv(tmp_path / "m.csv", [("path", "label"), ("a.jpg", "cat")])
    (tmp_path / "root/m.csv").symlink_to("../m.csv")
    with pytest.raises(SourceError, match="leads outside its root"):
        manifest(tmp_path / "root", path="m.csv")
    assert 1 == len(manifest(tmp_path / "root", path="m.csv", allow_outside=True))


def test_all_rows_of_a_file_are_on_one_side_of_a_split(tmp_path: Path) -> None:
    """Ten rows of one file, rows of one file with several labels, and two ways to write one path."""
    rows = [(f"{number}.jpg", "a") for number in range(50)]
    rows += [(f"b{number}.jpg", "b") for number in range(5) for _ in range(10)]
    rows += [(f"{number}.jpg", "b") for number in range(8)] + [(f"./b{number}.jpg", "a") for number in range(5)]
    write_csv(tmp_path / "m.csv", [("path", "label"), *rows])
    sides = {
        subset: manifest(tmp_path, path="m.csv", validation_split=0.25, subset=subset)
        for subset in ("training", "validation")
    }
    files = {subset: {path.removeprefix("./") for path, _ in items(found)} for subset, found in sides.items()}
    assert set() == files["training"] & files["validation"]
    assert 55 == len(files["training"]) + len(files["validation"])
    assert round(0.25 * 50) + round(0.25 * 5) == len(files["validation"])
    assert len(rows) == sum(map(len, sides.values()))


def test_a_split_of_files_that_occur_once_is_the_one_it_always_was(tmp_path: Path) -> None:
    """Saved positions name items of a subset by their number: another split would make them name other files."""
    write_csv(tmp_path / "m.csv", [("path", "label"), *((f"{number}.jpg", number % 3) for number in range(30))])
    found = manifest(tmp_path, path="m.csv", validation_split=0.3, subset="validation")
    pinned = [0, 2, 8, 12, 13, 16, 19, 23, 24]
    assert [f"{number}.jpg" for number in pinned] == [path for path, _ in items(found)]
