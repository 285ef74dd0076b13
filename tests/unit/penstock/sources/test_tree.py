"""Walks of class folders: where links lead, and what is read once."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.images import open_to_all, unprivileged
from support.sources.listings import directory, items, manifest, touch

from penstock.protocol.errors import SourceError
from penstock.sources import tree


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


@pytest.mark.parametrize("folders", [4, 9, 40])
def test_folders_that_link_to_each_other_are_read_once(folders: int, tmp_path: Path) -> None:
    """Each real folder once, under its own name: paths through links would be as many as orders of the folders."""
    names = [f"{number:02}" for number in range(folders)]
    touch(tmp_path, *(f"cat/{name}/a.jpg" for name in names))
    for here in names:
        for there in names:
            if here != there:
                (tmp_path / f"cat/{here}/to-{there}").symlink_to(f"../{there}")
    assert [f"cat/{name}/a.jpg" for name in names] == [path for path, _ in items(directory(tmp_path))]


def test_folders_with_the_same_number_are_all_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a network file system that makes numbers up: only a link can lead to a folder that was read already."""
    monkeypatch.setattr("penstock.sources.tree._identity", lambda _folder: (1, 0))
    touch(tmp_path, "cat/one/a.jpg", "cat/two/b.jpg")
    (tmp_path / "cat/one/up").symlink_to("..")
    assert ["cat/one/a.jpg", "cat/two/b.jpg"] == [path for path, _ in items(directory(tmp_path))]


def test_a_folder_that_only_links_reach_is_read_under_the_first_of_them(tmp_path: Path) -> None:
    """In each class that has a link to it, and the same on every host: by the links' paths."""
    touch(tmp_path, "store/deep/a.jpg", "set/cat/own.jpg", "set/dog/own.jpg")
    for link in ("cat/z", "cat/b", "cat/more", "dog/x"):
        (tmp_path / "set" / link).symlink_to("../../store/deep" if link == "cat/more" else "../../store")
    found = [path for path, _ in items(directory(tmp_path, path="set"))]
    assert ["set/cat/b/deep/a.jpg", "set/cat/own.jpg", "set/dog/own.jpg", "set/dog/x/deep/a.jpg"] == found


@pytest.mark.parametrize("mode", [0o744, 0o600, 0o311])
def test_a_folder_that_may_not_be_read_or_entered_is_named(mode: int, tmp_path: Path) -> None:
    """Without a traceback, whichever system call it is that says so, and wherever the folder lies."""
    for place in ("cat", "cat/more", "."):
        root = tmp_path / place.replace("/", "-")
        touch(root, "cat/a.jpg", "cat/more/b.jpg", "cat/more/deep/c.jpg")
        open_to_all(root)
        (root / place).chmod(mode)
        try:
            with unprivileged(), pytest.raises(SourceError, match=r"Permission denied"):
                directory(root)
        finally:
            (root / place).chmod(0o755)


def test_a_link_into_a_folder_that_may_not_be_entered_is_named(tmp_path: Path) -> None:
    """It could lead to a folder of images; one that is named like an image is left to the worker."""
    touch(tmp_path, "cat/a.jpg", "secret/more/b.jpg")
    (tmp_path / "cat/c.jpg").symlink_to("../secret/more/b.jpg")
    open_to_all(tmp_path)
    (tmp_path / "secret").chmod(0o600)
    with unprivileged():
        assert ["cat/a.jpg", "cat/c.jpg"] == [path for path, _ in items(directory(tmp_path, classes=("cat",)))]
    (tmp_path / "cat/d").symlink_to("../secret/more")
    with unprivileged(), pytest.raises(SourceError, match=r"cat/d: cannot read the folder: Permission denied"):
        directory(tmp_path, classes=("cat",))


def test_a_manifest_in_a_folder_that_may_not_be_entered_is_named(tmp_path: Path) -> None:
    """It is not called missing."""
    touch(tmp_path, "lists/m.csv")
    open_to_all(tmp_path)
    (tmp_path / "lists").chmod(0o600)
    with unprivileged(), pytest.raises(SourceError, match=r"lists/m\.csv: cannot look at it: Permission denied"):
        manifest(tmp_path, path="lists/m.csv")


@pytest.mark.parametrize("error", [SourceError, KeyboardInterrupt, None])
def test_after_an_error_or_an_interrupt_no_folder_is_walked_to_its_end(
    error: type[BaseException] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether a walk ends so or its result is refused, as of a class without images; another would last a minute."""
    touch(tmp_path, "a/a.txt", "endless/a.txt")
    real, begun, ended = tree._entries, threading.Event(), []

    def entries(folder: bytes) -> Iterator[os.DirEntry[bytes]]:
        if folder.endswith(b"/endless"):
            begun.set()
            deadline = time.monotonic() + 60
            [entry] = real(folder)
            while time.monotonic() < deadline:
                yield entry
            ended.append("walked to its end")
        elif folder.endswith(b"/a"):
            assert begun.wait(60)
            if error:
                raise error
        yield from real(folder)

    monkeypatch.setattr(tree, "_entries", entries)
    with pytest.raises(error or SourceError):
        directory(tmp_path)
    assert [] == ended


def test_class_folders_are_walked_at_the_same_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight folders are open at once, or none of the walks gets on; the listing is as it is of one after another."""
    paths = [f"{name}/{number}.jpg" for name in "abcdefghijklmnop" for number in range(3)]
    touch(tmp_path, *paths)
    expected = items(directory(tmp_path))
    real, together = tree._entries, threading.Barrier(8, timeout=60)
    threads: set[int] = set()

    def entries(folder: bytes) -> Iterator[os.DirEntry[bytes]]:
        if folder != os.fsencode(tmp_path):
            together.wait()  # breaks, which is an error, unless as many walks come here
            threads.add(threading.get_ident())
        yield from real(folder)

    monkeypatch.setattr(tree, "_entries", entries)
    assert expected == items(directory(tmp_path))
    assert paths == [path for path, _ in expected]
    assert 8 == len(threads)
