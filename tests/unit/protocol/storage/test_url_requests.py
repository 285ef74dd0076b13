"""Parts of files whose file system does not say with an answer of which content it is: replaced ones are noticed."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from penstock.protocol.errors import ItemError
from penstock.protocol.storage.url_answers import REPLACED
from penstock.protocol.storage.url_requests import Requests
from penstock.protocol.storage.urls import Remote

SPANS = [(0, 3), (5, 2)]


def replace(file: Path, content: bytes) -> None:
    """Write a file anew, under another time of change."""
    before = file.stat().st_mtime_ns if file.exists() else None
    while file.exists() is False or file.stat().st_mtime_ns == before:  # the kernel's clock has ticks
        file.write_bytes(content)


def test_a_file_that_was_replaced_is_refused_at_once(tmp_path: Path) -> None:
    """However short before it was read rightly; and both contents are told apart where two listings name them."""
    pytest.importorskip("fsspec", reason="NOT TESTED: fsspec is not installed")
    replace(tmp_path / "x.tar", b"0123456789")
    remote = Remote(f"file://{tmp_path}")
    old = remote.identity("x.tar").tag
    assert [b"012", b"56"] == remote.read_spans("x.tar", 100, SPANS, tag=old)
    replace(tmp_path / "x.tar", b"abcdefghij")
    with pytest.raises(ItemError, match=REPLACED):
        remote.read_spans("x.tar", 100, SPANS, tag=old)
    assert [b"abc", b"fg"] == remote.read_spans("x.tar", 100, SPANS, tag=remote.identity("x.tar").tag)
    with pytest.raises(ItemError, match=REPLACED):
        remote.read_spans("x.tar", 100, SPANS, tag=old)


def test_parts_that_came_before_a_question_share_its_answer(tmp_path: Path) -> None:
    """Twelve threads whose parts come while the first question is answered: they do not ask one after the other."""
    local = pytest.importorskip("fsspec.implementations.local", reason="NOT TESTED: fsspec is not installed")
    place, all_came = str(tmp_path / "x.tar"), threading.Event()
    (tmp_path / "x.tar").write_bytes(b"0123456789")
    parts, asked = [], []

    class Files(local.LocalFileSystem):  # type: ignore[misc, name-defined]
        def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> Any:
            found = super().cat_file(path, start, end)
            parts.append(found)
            return found

        def info(self, path: str, **_: Any) -> Any:
            asked.append(path)
            assert len(asked) > 1 or all_came.wait(30)
            return super().info(path)

    requests = Requests(Files(skip_instance_cache=True))
    tag = Requests(local.LocalFileSystem()).identity(place).tag
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(requests.part(place, 100, (2, 3), tag))) for _ in range(13)]
    deadline = time.monotonic() + 30
    for thread in threads:
        thread.start()
        while not asked:
            assert time.monotonic() < deadline
            time.sleep(0.005)  # asks again
    while len(parts) < len(threads):
        assert time.monotonic() < deadline
        time.sleep(0.005)  # as above
    all_came.set()
    for thread in threads:
        thread.join(30)
    assert [b"234"] * 13 == found
    assert 2 <= len(asked) < 13
