"""The index of a large manifest: later starts do not read the manifest, and never see another one's items."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from support.sources.kept_listings import facts, kept, listed, write

from penstock.sources.base import list_source
from penstock.sources.manifest import ManifestSource
from penstock.sources.tables import index_file, listing_index


def test_a_later_start_reads_no_manifest(root: Path, reads: list[str]) -> None:
    """And lists the same; what it holds takes no memory of its own."""
    first = facts(listed(root))
    again = listed(root)
    assert first == facts(again)
    assert 0 == again.held_bytes
    assert 1 == len(reads)


def test_without_an_index_the_listing_is_the_same(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the cache folder cannot be written."""
    found = facts(listed(root))
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    assert found == facts(listed(root))


@pytest.mark.parametrize(
    "fields",
    [
        {"label_column": ""},
        {"classes": ("dog", "cat")},
        {"path_column": "label", "label_column": "path"},
        {"validation_split": 0.2, "subset": "training"},
        {"validation_split": 0.2, "subset": "validation"},
    ],
)
def test_other_settings_have_an_index_of_their_own(
    fields: dict[str, Any], root: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each lists what it lists without an index."""
    listed(root)
    first = facts(listed(root, **fields))
    assert first == facts(listed(root, **fields))
    assert 2 == len(reads)
    monkeypatch.setattr(listing_index, "LEAST_BYTES", 10**9)
    assert first == facts(listed(root, **fields))


def test_a_changed_manifest_is_read_again(root: Path, reads: list[str]) -> None:
    """Changed in place or replaced; one that changed a moment ago is not kept yet."""
    before = facts(listed(root))
    write(root, 200)
    assert 200 == len(listed(root))
    write(root, 100, age_s=0.0)
    assert [100, 100] == [len(listed(root)), len(listed(root))]
    assert 4 == len(reads)
    write(root, 300)
    assert before == facts(listed(root))


def test_a_change_whose_time_was_set_back_is_seen(root: Path) -> None:
    """As by a tool that writes labels in place and keeps the file's date: the same inode, size and time of change."""
    before, manifest = listed(root), root / "m.csv"
    status = manifest.stat()
    text = manifest.read_text(encoding="utf-8").replace(",dog", ",fox")
    while manifest.stat().st_ctime_ns == status.st_ctime_ns:  # the kernel's clock has ticks
        manifest.write_text(text, encoding="utf-8")
        os.utime(manifest, ns=(status.st_mtime_ns, status.st_mtime_ns))
    assert (status.st_ino, status.st_size) == (manifest.stat().st_ino, manifest.stat().st_size)
    assert ("cat", "dog") == before.classes
    assert ("cat", "fox") == listed(root).classes


def test_a_manifest_that_is_new_when_its_listing_begins_is_not_kept(
    root: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long the listing takes: the file may change during it at the same time by a coarse clock."""
    write(root, 50, age_s=0.0)
    changed = (root / "m.csv").stat().st_mtime
    monkeypatch.setattr("time.time", lambda: changed + 1 + 60 * len(reads))
    assert 50 == len(listed(root))
    assert [] == kept(root)
    assert [50, 50] == [len(listed(root)), len(listed(root))]
    assert 2 == len(reads)


@pytest.mark.parametrize("errno_", [errno.ENODEV, errno.ENOMEM])
def test_an_index_that_cannot_be_mapped_is_not_used(
    errno_: int, root: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a file system that maps no files, or where memory is short: the manifest is read."""
    first = facts(listed(root))

    def mmap(*_: Any, **__: Any) -> None:
        raise OSError(errno_, os.strerror(errno_))

    monkeypatch.setattr("mmap.mmap", mmap)
    assert first == facts(listed(root))
    assert 2 == len(reads)


@pytest.mark.parametrize("damage", ["cut", "text", "empty", "boot", "header", "endless", "negative", "deep", "format"])
def test_a_damaged_index_is_made_anew(
    damage: str, root: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut, overwritten, of another start of the host."""
    first = facts(listed(root))
    [file] = (root / "cache/penstock/listings").iterdir()
    content = file.read_bytes()
    if damage == "boot":
        monkeypatch.setattr(listing_index, "_boot", lambda: "another")
    else:
        changed = {
            "cut": content[:-1],
            "text": b"x" * 5000,
            "empty": b"",
            "header": with_header(content, b"{}"),
            "endless": with_header(content, header_of(content).replace(b'"items": 300', b'"items": 1e999')),
            "negative": with_header(content, header_of(content).replace(b'"items": 300', b'"items": -300')),
            "deep": with_header(content, b"[" * 100_000),
            "format": content[:-3] + b"2.\n",
        }
        file.write_bytes(changed[damage])
    assert first == facts(listed(root))
    assert first == facts(listed(root))
    assert 2 == len(reads)


def header_of(content: bytes) -> bytes:
    """Return the header of an index."""
    size, _, _ = index_file.END.unpack(content[-index_file.END.size :])
    return content[-index_file.END.size - size : -index_file.END.size]


def with_header(content: bytes, header: bytes) -> bytes:
    """Return an index with another header, whose checksum is right."""
    rest = content[: -index_file.END.size - len(header_of(content))]
    return rest + header + index_file.end_of(header)


def test_hosts_that_share_a_home_keep_each_others_index(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network file system would take the pages of a replaced one away; what nobody used for 90 days is removed."""
    listed(root)
    [first] = (root / "cache/penstock/listings").iterdir()
    inode = first.stat().st_ino
    monkeypatch.setattr(listing_index, "_boot", lambda: "another")
    listed(root)
    assert inode == first.stat().st_ino
    [second] = set(first.parent.iterdir()) - {first}
    long_ago = first.stat().st_mtime - 91 * 86400
    for file in (first, second):
        os.utime(file, (long_ago, long_ago))
    write(root, 200)
    listed(root)
    assert [second] == list(first.parent.iterdir())


def test_an_index_in_use_is_not_old(root: Path) -> None:
    """Each start that maps it says so in its date."""
    listed(root)
    [file] = (root / "cache/penstock/listings").iterdir()
    os.utime(file, (10**9, 10**9))
    listed(root)
    assert 10**9 < file.stat().st_mtime


def test_chosen_rows_and_weights_have_indexes_of_their_own(root: Path, reads: list[str]) -> None:
    """One for each choice; a later start finds the same items and weights in it."""
    lines = [f"a/{number}.jpg,{'cat' if number % 3 else 'dog'},{number % 7 / 4}" for number in range(300)]
    (root / "m.csv").write_text("\n".join(["path,label,often", *lines]), encoding="utf-8")
    os.utime(root / "m.csv", (1e9, 1e9))
    where = [{"column": "label", "op": "==", "value": "cat"}]
    for fields in ({"where": where}, {"weight_column": "often"}, {"where": where, "weight_column": "often"}):
        first, again = listed(root, **fields), listed(root, **fields)
        assert (200 if "where" in fields else 300) == len(first)
        assert facts(first) == facts(again)
        assert 0 == again.held_bytes
        if "weight_column" in fields:
            assert first.weights is not None
            assert again.weights is not None
            expected = [number % 7 / 4 for number in range(300) if "where" not in fields or number % 3]
            assert expected == first.weights.tolist() == again.weights.tolist()
    assert 3 == len(reads)
    assert 3 == len(kept(root))


def test_targets_have_no_index(root: Path, reads: list[str]) -> None:
    """Their columns are not kept in it."""
    source = ManifestSource(kind="manifest", root="r", path="m.csv")
    for _ in range(2):
        assert 300 == len(list_source(source, {"r": str(root)}, ["label"]))
    assert 2 == len(reads)
    assert not (root / "cache").exists()


@pytest.mark.parametrize("small", [True, False])
def test_pages_are_given_back(root: Path, monkeypatch: pytest.MonkeyPatch, *, small: bool) -> None:
    """Of a large mapping, after so many items; they come again when they are needed. A small one may stay resident."""
    listed(root)
    given: list[int] = []
    real = index_file.Pages.give_back
    monkeypatch.setattr(index_file, "_GIVE_BACK", 10)
    monkeypatch.setattr(index_file, "_SMALL_BYTES", 10**9 if small else 100)
    again = listed(root)

    def give_back(pages: index_file.Pages) -> None:
        given.append(1)
        real(pages)

    monkeypatch.setattr(index_file.Pages, "give_back", give_back)
    assert [f"a/{index}.jpg" for index in range(25)] == [again.item(index).path for index in range(25)]
    assert (0 if small else 2) == len(given)
    assert [f"a/{index}.jpg" for index in range(25)] == [item.path for item in again.items(range(25))]
    assert (0 if small else 3) == len(given)
