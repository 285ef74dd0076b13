"""Listings of files: their digest, their subsets and the memory that they take."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.sources.listings import directory, items, manifest, touch, write_csv

from penstock.protocol.errors import SourceError
from penstock.sources.file_listing import ListingBuilder


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


def test_a_listing_holds_a_million_items_in_about_their_paths_length() -> None:
    """A hundred million items must fit: besides its path an item takes about 12 bytes, and no object."""
    builder = ListingBuilder()
    for index in range(1_000_000):
        builder.add(b"class/%08d.jpg" % index, index & 1)
    found = builder.build("directory", ("even", "odd"))
    held = len(found.paths) + found.starts.nbytes + found.labels.nbytes
    assert 1_000_000 * (18 + 12) + 8 == held
    assert ("class/00765432.jpg", 0) == (found.path(765_432), found.label(765_432))
