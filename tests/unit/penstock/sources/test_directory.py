"""Sources: what is listed, in which order, and what every mistake is called."""

import csv
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.images import encode, open_to_all, picture, unprivileged, write_images

from penstock.protocol.errors import SourceError
from penstock.sources.base import Listing, list_source
from penstock.sources.directory import DirectorySource
from penstock.sources.file_listing import ListingBuilder
from penstock.sources.manifest import ManifestSource


def touch(folder: Path, *paths: str) -> None:
    """Make empty files: listing never looks inside."""
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()


def directory(root: Path, **fields: Any) -> Listing:
    """List a directory source below `root`."""
    return list_source(DirectorySource(kind="directory", root="photos", **fields), {"photos": str(root)})


def manifest(root: Path, **fields: Any) -> Listing:
    """List a manifest source below `root`."""
    return list_source(ManifestSource(kind="manifest", root="photos", **fields), {"photos": str(root)})


def items(listing: Listing) -> list[tuple[str, int]]:
    """Return every item as (path, label)."""
    return [(listing.path(index), listing.label(index)) for index in range(len(listing))]


def write_csv(path: Path, rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


# directory trees


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


def test_links_inside_the_root_are_followed(tmp_path: Path) -> None:
    """Linked classes, folders and files are listed under the names of their links."""
    touch(tmp_path, "store/one/a.jpg", "store/b.jpg", "set/cat/c.jpg")
    (tmp_path / "set/dog").symlink_to(tmp_path / "store")
    (tmp_path / "set/cat/more").symlink_to("../../store/one")
    (tmp_path / "set/cat/d.jpg").symlink_to("../../store/b.jpg")
    expected = ["set/cat/c.jpg", "set/cat/d.jpg", "set/cat/more/a.jpg", "set/dog/b.jpg", "set/dog/one/a.jpg"]
    assert expected == [path for path, _ in items(directory(tmp_path, path="set"))]


def test_links_in_circles_end(tmp_path: Path) -> None:
    """A link to a folder above it, to itself, or two that lead to each other, add nothing and hang nothing."""
    touch(tmp_path, "cat/a.jpg", "cat/one/b.jpg", "cat/two/c.jpg")
    (tmp_path / "cat/up").symlink_to(".")
    (tmp_path / "cat/one/top").symlink_to("../..")
    (tmp_path / "cat/self").symlink_to("self")
    (tmp_path / "cat/one/across").symlink_to("../two")
    (tmp_path / "cat/two/across").symlink_to("../one")
    found = [path for path, _ in items(directory(tmp_path, classes=("cat",)))]
    assert ["cat/a.jpg", "cat/one/b.jpg", "cat/two/c.jpg"] == found


@pytest.mark.parametrize("kind", ["class", "folder", "file", "broken", "source"])
def test_a_link_that_leads_out_of_the_root_is_refused_unless_allowed(tmp_path: Path, kind: str) -> None:
    """The error names the link and where it leads; allow_outside lists it."""
    root, outside = tmp_path / "root", tmp_path / "root-outside"
    touch(root, "set/cat/a.jpg")
    touch(outside, "cat/b.jpg")
    link, target = {
        "class": ("set/dog", outside / "cat"),
        "folder": ("set/cat/more", outside),
        "file": ("set/cat/b.jpg", outside / "cat/b.jpg"),
        "broken": ("set/cat/b.jpg", outside / "missing.jpg"),
        "source": ("link", outside),
    }[kind]
    (root / link).symlink_to(target)
    path = "link" if kind == "source" else "set"
    with pytest.raises(SourceError, match=rf"{link} leads outside its root, to .*root-outside.*allow_outside"):
        directory(root, path=path)
    assert len(directory(root, path=path, allow_outside=True)) == (1 if kind == "source" else 2)


def test_a_root_may_itself_be_a_link(tmp_path: Path) -> None:
    """Confinement is to what the root resolves to."""
    touch(tmp_path, "real/cat/a.jpg")
    (tmp_path / "root").symlink_to("real")
    assert [("cat/a.jpg", 0)] == items(directory(tmp_path / "root"))


def test_a_link_to_an_unreachable_file_is_left_to_the_worker(tmp_path: Path) -> None:
    """A broken link inside the root is listed: the worker will quarantine it under its name."""
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat/a.jpg").symlink_to("gone.jpg")
    (tmp_path / "cat/b.jpg").symlink_to("b.jpg")
    assert ["cat/a.jpg", "cat/b.jpg"] == [path for path, _ in items(directory(tmp_path))]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"path": "nowhere"}, r"nowhere: no such folder \(source\.path = 'nowhere' in root 'photos'\)"),
        ({"path": "cat/a.jpg"}, r"cat/a\.jpg: it is a file: for a manifest give kind = 'manifest'"),
        ({"path": "cat"}, r"cat holds no folder that could be a class, but 1 images: put each class into a folder"),
        ({"path": "void"}, r"void holds no folder that could be a class$"),
        ({}, r"class 'texts' has no images: .*/texts holds no file that ends in bmp, .*remove the folder"),
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


# digest and subsets


def test_the_digest_changes_with_paths_labels_classes_and_kind(tmp_path: Path) -> None:
    """Equal digests mean equal listings; the folder that holds the root does not count."""

    def digest(*paths: str, classes: tuple[str, ...] = ("cat", "dog"), at: str = "root") -> str:
        place = tmp_path / at
        touch(place, *paths)
        found = directory(place, classes=classes).digest
        for path in paths:
            (place / path).unlink()
        return found

    first = digest("cat/a.jpg", "dog/b.jpg")
    assert first == digest("dog/b.jpg", "cat/a.jpg", at="elsewhere")
    assert 64 == len(first)
    others = [
        digest("cat/a.jpg", "dog/c.jpg"),
        digest("cat/a.jpg", "cat/b.jpg", "dog/b.jpg"),
        digest("cat/a.jpg", "dog/b.jpg", classes=("dog", "cat")),
    ]
    touch(tmp_path / "root", "cat/a.jpg", "dog/b.jpg")
    write_csv(tmp_path / "root/m.csv", [("path", "label"), ("cat/a.jpg", "cat"), ("dog/b.jpg", "dog")])
    others.append(manifest(tmp_path / "root", path="m.csv").digest)
    assert 5 == len({first, *others})


def test_where_one_path_ends_and_the_next_begins_counts_in_the_digest() -> None:
    """The same bytes, cut into other paths, are another listing."""
    digests: set[str] = set()
    for paths in ((b"a", b"bc"), (b"ab", b"c"), (b"abc", b"")):
        builder = ListingBuilder()
        for path in paths:
            builder.add(path, 0)
        digests.add(builder.build("directory", ("x",)).digest)
    assert 3 == len(digests)


@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=4), fraction=st.floats(0.0, 1.0, exclude_max=True))
def test_subsets_are_disjoint_together_all_and_stratified(sizes: list[int], fraction: float) -> None:
    """Each class gives round(fraction × n) items to validation, and every item is on one side, in the old order."""
    builder = ListingBuilder()
    for label, size in enumerate(sizes):
        for index in range(size):
            builder.add(f"{label}/{index}.jpg".encode(), label)
    whole = builder.build("directory", [str(label) for label in range(len(sizes))])
    sides = [whole.split(fraction, validation=validation) for validation in (False, True)]
    assert [round(fraction * size) for size in sizes] == list(sides[1].counts().values())
    assert sorted(items(whole)) == sorted(items(sides[0]) + items(sides[1]))
    for side in sides:
        assert [item for item in items(whole) if item in items(side)] == items(side)


def test_a_subset_does_not_move_when_another_class_grows(tmp_path: Path) -> None:
    """The split looks at one class's paths only; the digest of each subset is its own."""
    touch(tmp_path, *(f"cat/{index}.jpg" for index in range(30)), "dog/a.jpg", "dog/b.jpg")
    fields = {"validation_split": 0.3, "subset": "validation"}
    before = directory(tmp_path, **fields)
    touch(tmp_path, *(f"dog/{index}.jpg" for index in range(30)))
    after = directory(tmp_path, **fields)
    assert 9 == before.counts()["cat"]
    assert [item for item in items(before) if item[1] == 0] == [item for item in items(after) if item[1] == 0]
    assert before.digest != directory(tmp_path, validation_split=0.3, subset="training").digest


def test_an_empty_subset_is_an_error(tmp_path: Path) -> None:
    """Two images cannot give 10 % of themselves."""
    touch(tmp_path, "cat/a.jpg", "cat/b.jpg")
    with pytest.raises(SourceError, match=r"subset 'validation' of 2 items is empty at validation_split = 0\.1"):
        directory(tmp_path, validation_split=0.1, subset="validation")


# manifests


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
        (["10", "9", "-1"], ("-1", "10", "9")),
        (["b", "a", "ä", "B"], ("B", "a", "b", "ä")),
        (["2", "02", "10"], ("02", "2", "10")),
        (["9" * 30, "8"], ("8", "9" * 30)),
    ],
)
def test_labels_sort_as_numbers_only_if_all_are(tmp_path: Path, labels: list[str], classes: tuple[str, ...]) -> None:
    """Ten comes after nine; one label that is no whole number makes all of them names."""
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


def write_parquet(file: Path, **columns: Any) -> None:
    """Write a Parquet file in row groups of two."""
    pyarrow = pytest.importorskip("pyarrow", reason="NOT TESTED: pyarrow is not installed")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table(columns), file, row_group_size=2)


def test_parquet_and_csv_of_the_same_rows_are_the_same_listing(tmp_path: Path) -> None:
    """Integers and dictionary-coded strings are labels like any other, and the digest does not tell the format."""
    paths, labels = ["b.jpg", "a.jpg", "ä/c.jpg", "b.jpg", "d.jpg"], [10, 9, 10, 9, 0]
    write_parquet(tmp_path / "m.parquet", other=[1.5] * 5, path=paths, label=labels)
    write_csv(tmp_path / "m.csv", [("path", "label"), *zip(paths, labels, strict=True)])
    found = manifest(tmp_path, path="m.parquet")
    assert ("0", "9", "10") == found.classes
    assert list(zip(paths, [2, 1, 2, 1, 0], strict=True)) == items(found)
    assert manifest(tmp_path, path="m.csv").digest == found.digest
    pyarrow = pytest.importorskip("pyarrow")
    names = pyarrow.array(["dog", "cat", "dog"]).dictionary_encode()
    write_parquet(tmp_path / "named.parquet", path=["1.jpg", "2.jpg", "3.jpg"], label=names)
    assert [1, 0, 1] == [label for _, label in items(manifest(tmp_path, path="named.parquet"))]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"path": ["a.jpg", None, "b.jpg"], "label": [0, 0, 0]}, r"m\.parquet, row 2: path = None: must be text"),
        ({"path": ["a.jpg"] * 3, "label": ["x", "x", None]}, r"row 3: label = None: a label must be text or a whole"),
        ({"path": ["a.jpg"] * 3, "label": [0.5] * 3}, r"row 1: label = 0\.5: a label must be"),
        ({"path": ["a.jpg"] * 3, "label": [[1]] * 3}, r"row 1: label = \[1\]: a label must be"),
        ({"path": ["a.jpg", "../b.jpg", "c.jpg"], "label": [0, 0, 0]}, r"row 2: path = '\.\./b\.jpg'"),
        ({"path": ["a.jpg"], "target": [0]}, r"has no column 'label' .*'path', 'target'"),
    ],
)
def test_a_bad_parquet_row_is_named_by_its_number(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    """Rows count from 1, over all row groups."""
    write_parquet(tmp_path / "m.parquet", **columns)
    with pytest.raises(SourceError, match=message):
        manifest(tmp_path, path="m.parquet")


def test_a_file_that_is_no_parquet_is_named(tmp_path: Path) -> None:
    """A damaged file is an error in words, not a traceback of the library."""
    pytest.importorskip("pyarrow", reason="NOT TESTED: pyarrow is not installed")
    (tmp_path / "m.parquet").write_bytes(b"path,label\n")
    with pytest.raises(SourceError, match=r"m\.parquet: cannot read the Parquet file"):
        manifest(tmp_path, path="m.parquet")


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    (tmp_path / "m.parquet").touch()
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(SourceError, match=r"penstock\[parquet\]"):
        manifest(tmp_path, path="m.parquet")


# size and real data


def test_a_listing_holds_a_million_items_in_about_their_paths_length() -> None:
    """A hundred million items must fit: beside its path an item takes about 12 bytes, and no object."""
    builder = ListingBuilder()
    for index in range(1_000_000):
        builder.add(b"class/%08d.jpg" % index, index & 1)
    found = builder.build("directory", ("even", "odd"))
    held = len(found.paths) + found.starts.nbytes + found.labels.nbytes
    assert 1_000_000 * (18 + 12) + 8 == held
    assert ("class/00765432.jpg", 0) == (found.path(765_432), found.label(765_432))


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
