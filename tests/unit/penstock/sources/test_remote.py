"""Files below URLs: what is listed and read of a real HTTP server, and what each of its failures is called."""

import csv
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from support.images import encode, picture
from support.web import serve

from penstock.protocol.errors import ItemError, SourceError
from penstock.protocol.messages import Item, Task, TaskKey
from penstock.protocol.spec.roots import absolute_root, is_url
from penstock.protocol.spec.spec import parse_spec
from penstock.protocol.storage.urls import Remote, shown
from penstock.sources.base import Listing, list_source
from penstock.sources.directory import DirectorySource
from penstock.sources.file_reader import UrlReader
from penstock.sources.manifest import ManifestSource

#: Names that a URL must quote, and one that only looks like a quoted one.
NAMES = ("cat/a.jpg", "cat/b c.JPG", "cat/more/ü#1?.png", "dog/%41.jpg", "dog/x&y=z+w;v.jpg")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Return a folder of two classes, with files whose names a URL must quote and some that are no images."""
    folder = tmp_path / "photos"
    for number, name in enumerate((*NAMES, "cat/.hidden.jpg", "cat/notes.txt", ".git/x.jpg", "beside.jpg")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(encode(picture(number, 0, 24, 24)))
    return folder


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait shorter between tries."""
    monkeypatch.setattr("penstock.protocol.storage.urls._BACKOFF_S", (0.01, 0.01, 0.01))


def listed(root: str, **fields: Any) -> Listing:
    """List a tree."""
    return list_source(DirectorySource(kind="directory", root="photos", **fields), {"photos": root})


def task(*paths: str) -> Task:
    """Return a task of these files."""
    items = tuple(Item(item=number, path=path, label=0) for number, path in enumerate(paths))
    return Task(key=TaskKey(stream="train", ordinal=0), attempt=0, epoch=0, items=items)


def test_a_tree_below_a_url_is_listed_as_on_disk(photos: Path) -> None:
    """The same paths in the same order, and so the same digest; also from a folder below the root."""
    with serve(photos.parent) as web:
        assert listed(str(photos)).digest == listed(f"{web.url}/photos").digest
        assert listed(str(photos)).digest == listed(f"{web.url}/photos/").digest
        below = {"path": "photos", "classes": ("dog",)}
        assert listed(str(photos.parent), **below).digest == listed(web.url, **below).digest


def test_any_file_system_of_fsspec_is_listed_and_read(photos: Path) -> None:
    """As one in memory, and a chain of two: an archive in it."""
    memory = fsspec.filesystem("memory")
    for name in NAMES:
        memory.pipe_file(f"/bucket/photos/{name}", (photos / name).read_bytes())
    assert listed(str(photos)).digest == listed("memory://bucket/photos").digest
    [content] = (
        UrlReader("memory://bucket/photos", allow_outside=False, limit_bytes=10**6).read(task(NAMES[2])).contents
    )
    assert (photos / NAMES[2]).read_bytes() == content
    memory.rm("/bucket", recursive=True)


def test_every_file_is_read_whole(photos: Path) -> None:
    """Whatever its name."""
    with serve(photos) as web:
        loaded = UrlReader(web.url, allow_outside=False, limit_bytes=10**6).read(task(*NAMES))
        assert [(photos / name).read_bytes() for name in NAMES] == list(loaded.contents)
    assert list(NAMES) == list(loaded.paths)


def test_files_of_a_task_are_asked_for_at_once_but_not_all(photos: Path) -> None:
    """So latency hides; the number of requests has a limit."""
    with serve(photos, latency_s=0.05) as web:
        loaded = UrlReader(web.url, allow_outside=False, limit_bytes=10**6, requests=6).read(task(*NAMES * 6))
        assert all(isinstance(content, bytes) for content in loaded.contents)
        assert 30 == web.requests.total()
        assert 2 <= web.most_at_once <= 6


def test_a_task_is_read_ahead_while_another_is_waited_for(photos: Path) -> None:
    """Asking waits for nothing, so the next task's files are asked for as well; each file waits for itself only."""
    never = "/cat/a.jpg"
    with serve(photos, mischief=lambda path, _: "hang" if path == never else "") as web:
        files = UrlReader(web.url, allow_outside=False, limit_bytes=10**6)
        first, second = files.read(task(*NAMES)), files.read(task(*NAMES[1:]))
        assert [(photos / name).read_bytes() for name in NAMES[1:]] == first.contents[1:] == list(second.contents)


def test_a_manifest_below_a_url_is_listed_as_on_disk(photos: Path) -> None:
    """CSV and Parquet; errors name the URL, not the copy."""
    import pyarrow as pa  # noqa: PLC0415 - slow
    from pyarrow import parquet  # noqa: PLC0415

    with (photos / "list.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "label"), *((name, name[:3]) for name in NAMES)])
    parquet.write_table(pa.table({"path": NAMES, "label": [name[:3] for name in NAMES]}), photos / "list.parquet")
    with serve(photos) as web:
        for path in ("list.csv", "list.parquet"):
            source = ManifestSource(kind="manifest", root="photos", path=path)
            assert (
                list_source(source, {"photos": str(photos)}).digest == list_source(source, {"photos": web.url}).digest
            )
        (photos / "list.csv").write_text("path,label\n../x.jpg,cat\n", encoding="utf-8")
        source = ManifestSource(kind="manifest", root="photos", path="list.csv")
        with pytest.raises(SourceError, match=re.escape(f"{web.url}/list.csv, line 2: path = '../x.jpg'")):
            list_source(source, {"photos": web.url})
        with pytest.raises(SourceError, match=r"none\.csv: no such file"):
            list_source(source.model_copy(update={"path": "none.csv"}), {"photos": web.url})


@pytest.mark.parametrize("mischief", [500, 503, 429, "truncate"])
def test_what_fails_once_is_tried_again(mischief: int | str, photos: Path) -> None:
    """Twice, here; the third answer is whole."""
    with serve(photos, mischief=lambda _, number: mischief if number < 2 else "") as web:
        assert (photos / NAMES[0]).read_bytes() == Remote(web.url).read(NAMES[0], 10**6)
        assert 3 == web.requests.total()


@pytest.mark.parametrize(
    ("mischief", "words", "requests"),
    [
        (404, "no such file", 1),
        (410, "no such file", 1),
        (401, "permission denied", 1),
        (403, "permission denied", 1),
        (418, "HTTP status 418", 1),
        (500, "cannot read, 4 times tried: ConnectionError: HTTP status 500", 4),
        ("truncate", "cannot read, 4 times tried: ClientPayloadError", 4),
        ("hang", "cannot read, 4 times tried: FSTimeoutError: no answer within 0.2 s", 4),
        ("redirect", "leads elsewhere (HTTP status 302): allow_outside = true", 1),
    ],
)
def test_each_failure_has_its_words(
    mischief: int | str, words: str, requests: int, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that stays; what cannot be mended is not tried again."""
    if mischief == "hang":  # else a busy machine's stall would pass for a server's
        monkeypatch.setattr("penstock.protocol.storage.url_requests.REQUEST_S", 0.2)
    with serve(photos, mischief=lambda *_: mischief) as web:
        with pytest.raises(ItemError, match=re.escape(words)):
            Remote(web.url).read(NAMES[0], 10**6)
        asked = web.requests.total()
    # A question that came to its deadline may never have reached the server; that it was asked is in the words.
    assert asked <= requests if mischief == "hang" else asked == requests


def test_a_server_that_is_gone_has_its_words() -> None:
    """Of the connection; listing says the same of the folder."""
    with socket.socket() as gone:
        gone.bind(("127.0.0.1", 0))  # bound, so that no other process takes it, and not listening
        url = f"http://127.0.0.1:{gone.getsockname()[1]}"
        with pytest.raises(ItemError, match="4 times tried: ClientConnectorError"):
            Remote(url).read(NAMES[0], 10**6)
        with pytest.raises(SourceError, match=r"cannot list the folder: cannot read, 4 times tried"):
            listed(url)


def test_a_file_over_the_limit_is_not_taken(photos: Path) -> None:
    """Neither one that says its size, nor one that does not."""
    size = (photos / NAMES[0]).stat().st_size
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/limit/a.jpg", bytes(1000))
    with serve(photos) as web:
        with pytest.raises(ItemError, match=f"{size} bytes is over the limit of 100 bytes"):
            Remote(web.url).read(NAMES[0], 100)
        assert size == len(Remote(web.url).read(NAMES[0], size))
    with pytest.raises(ItemError, match="more than the limit of 100 bytes"):
        Remote("memory://limit").read("a.jpg", 100)
    memory.pipe_file("/limit/a.jpg", b"")
    with pytest.raises(ItemError, match="empty"):
        Remote("memory://limit").read("a.jpg", 100)
    memory.rm("/limit", recursive=True)


@pytest.mark.parametrize("path", ["../x.jpg", "cat/../../x.jpg", "/etc/passwd", "cat\\..\\x.jpg"])
def test_no_path_leaves_the_root(path: str, photos: Path) -> None:
    """It is not even asked for."""
    with serve(photos.parent) as web:
        with pytest.raises(ItemError, match="outside its root"):
            Remote(f"{web.url}/photos").read(path, 10**6)
        assert 0 == web.requests.total()


def test_links_of_an_index_page_that_lead_elsewhere_are_not_followed(tmp_path: Path) -> None:
    """Parents, other hosts, sorting links: only what lies directly below counts."""
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat/a.jpg").touch()
    links = (
        "cat/",
        "../",
        "/",
        "?C=M",
        "cat/?C=N",
        "..%2Fx.jpg",
        "http://127.0.0.2:9/dog/",
        "//127.0.0.2:9/dog/",
        "cat/a.jpg",
        "#x/",
    )
    page = "<html>" + "".join(f'<a href="{link}">x</a>' for link in links)
    (tmp_path / "index.html").write_text(page, encoding="utf-8")
    with serve(tmp_path) as web:
        assert ["cat/a.jpg"] == list(Remote(web.url).walk(""))


def test_links_that_a_server_follows_do_not_multiply_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight folders that link to the next twice are 511 pages below a URL, and eight folders on a disk."""
    folder = tmp_path / "cat"
    for _level in range(8):
        folder.mkdir()
        (folder / "x.jpg").touch()
        (folder / "again").symlink_to("next")
        folder /= "next"
    folder.mkdir()
    for root in (str(tmp_path), f"file://{tmp_path}"):
        assert 8 == len(listed(root))
    monkeypatch.setattr("penstock.protocol.storage.urls._MOST_FOLDERS", 100)
    with serve(tmp_path) as web, pytest.raises(SourceError, match=r"more than 100 folders \(links on the server"):
        listed(web.url)
    monkeypatch.setattr("penstock.protocol.storage.urls._MOST_DEEP", 4)
    with serve(tmp_path) as web, pytest.raises(SourceError, match=r"folders deeper than 4 .*: cat(/(next|again)){4}"):
        listed(web.url)


def test_a_root_that_is_a_url_stays_one(tmp_path: Path) -> None:
    """Paths become absolute, `file://` becomes a path; secrets of a URL are not shown."""
    assert "s3://bucket/x" == absolute_root("s3://bucket/x", tmp_path)
    assert "/data/a b" == absolute_root("file:///data/a%20b", tmp_path)
    assert "/data" == absolute_root("local:///data", tmp_path)
    assert str(tmp_path / "x") == absolute_root("x", tmp_path)
    assert [True, True, False, False] == [is_url(each) for each in ("gs://b", "zip://a::s3://b", "/a://b", "a/b")]
    assert "http://host:80/x" == shown("http://user:secret@host:80/x?token=secret")
    stream = {"source": {"kind": "directory", "root": "r"}, "transform": {"resize": {"height": 8, "width": 8}}}
    spec = parse_spec({"roots": {"r": "http://host/x"}, "streams": {"train": stream}})
    assert {"r": "http://host/x"} == spec.roots


def test_what_fsspec_does_not_know_has_its_words(tmp_path: Path) -> None:
    """The protocol, the package that it needs, and what is only read from files."""
    with pytest.raises(SourceError, match="Protocol not known: nonsense"):
        listed("nonsense://x/y")
    with pytest.raises(SourceError, match=r"pip install 'penstock\[url\]'"):
        listed("abfs://x/y")
    from penstock.protocol.storage.confined_files import open_below  # noqa: PLC0415 - only here

    with pytest.raises(SourceError, match="read from files only"):
        open_below("http://host", "x.npy", allow_outside=False)
    assert tmp_path


@pytest.fixture(autouse=True)
def _no_leftovers() -> Iterator[None]:
    """Leave fsspec's memory as it was."""
    yield
    fsspec.filesystem("memory").store.clear()


def test_optional_libraries_are_imported_only_when_used() -> None:
    """Neither a worker nor a ventilator imports fsspec, h5py or a data frame library before a source asks for it."""
    program = (
        "import sys, penstock.worker.service, penstock.ventilator.service, penstock.launcher.stack\n"
        "from penstock.protocol.spec.source import KINDS, load_kind\n"
        "print(*map(load_kind, KINDS), *sys.modules)"
    )
    modules = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert "penstock.protocol.storage.urls" in modules
    assert set() == {"fsspec", "aiohttp", "h5py", "pandas", "pyarrow"} & set(modules)
