"""Reads files below roots that are URLs, through fsspec, with limits, deadlines, retries and clear errors.

Any protocol that fsspec knows works (http, https, s3, gs, …), if the package that fsspec needs for it is installed;
credentials come from where that package looks for them, never from a spec. File contents are
not interpreted here.
"""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path, PurePosixPath
from typing import NoReturn, TypeVar, cast
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from penstock.protocol.errors import ItemError, SourceError
from penstock.protocol.storage import url_requests
from penstock.protocol.storage.url_answers import (
    ENDS_EARLY,
    AskLaterError,
    Final,
    RemoteIdentity,
    TriesOver,
    part_of,
)
from penstock.protocol.storage.url_requests import S3, Http, Requests

#: Seconds to wait before each further try; each pause is drawn between a half and one and a half of it, so that
#: workers that a server turned away do not all come back at once.
_BACKOFF_S = (0.05, 0.3, 1.0)
_TRIES = len(_BACKOFF_S) + 1
#: Folders deeper than this, and more of them, are links on the server that lead in circles or multiply folders: a page
#: does not say which entries are links.
_MOST_DEEP, _MOST_FOLDERS = 64, 200_000

_Result = TypeVar("_Result")


def shown(url: str) -> str:
    """Return a URL for messages: without what may be secret, user and query."""
    try:
        split = urlsplit(url)
    except ValueError:  # such as `http://[`
        return url.partition("?")[0].rpartition("@")[2]
    return urlunsplit((split.scheme, split.netloc.rpartition("@")[2], split.path, "", ""))


def one_line(error: BaseException) -> str:
    """Return an error's text in one line."""
    return " ".join(str(error).split()) or "no reason given"


class Remote:
    """The files below one URL; may be used by several threads at once."""

    def __init__(self, url: str, *, allow_outside: bool = False) -> None:
        """Open the file system; most open no connection yet, an archive (`zip://…`) is opened.

        Raises SourceError if a package is missing, or whatever the file system says.
        """
        try:
            from fsspec.core import url_to_fs  # noqa: PLC0415 - an extra, and slow to import

            options = {"encoded": True} if url.startswith(("http://", "https://")) else {}
            self._fs, self._root = url_to_fs(url, use_listings_cache=False, skip_instance_cache=True, **options)
        except ImportError as error:
            raise SourceError(
                f"root {shown(url)}: a URL needs fsspec and what it takes for this protocol: "
                f"pip install 'penstock[url]' (http, https), s3fs (s3), gcsfs (gs): {error}"
            ) from error
        except FileNotFoundError as error:
            raise SourceError(f"root {shown(url)}: no such file: {error.filename or error}") from error
        except Exception as error:  # each file system raises errors of its own
            raise SourceError(
                f"root {shown(url)}: fsspec cannot open it: {type(error).__name__}: {one_line(error)}"
            ) from error
        protocols = self._fs.protocol if isinstance(self._fs.protocol, tuple) else (self._fs.protocol,)
        self._http = "http" in protocols or "https" in protocols
        kind = Http if self._http else S3 if "s3" in protocols and hasattr(self._fs, "_call_s3") else Requests
        self._requests = kind(self._fs, allow_outside=allow_outside)
        self.name = shown(url)
        try:
            self._place("")
        except ValueError as error:
            raise SourceError(f"root {self.name}: not a URL: {error}") from error

    def read(self, path: str, limit_bytes: int, span: tuple[int, int] | None = None) -> bytes:
        """Return a file's content, or the part of it at (offset, length).

        Raises ItemError, whose message can stand in the quarantine ledger as it is.
        """
        if span is not None:
            content = self.read_spans(path, limit_bytes, [span])[0]
            if isinstance(content, ItemError):
                raise content
            return content
        content = self._read(path, limit_bytes, None)
        if len(content) > limit_bytes:
            raise ItemError(f"more than the limit of {limit_bytes} bytes (transform.max_file_mb)")
        if not content:
            raise ItemError("the file is empty")
        return content

    def read_spans(
        self, path: str, limit_bytes: int, spans: Sequence[tuple[int, int]], tries: int = _TRIES, tag: str = ""
    ) -> list[bytes | ItemError]:
        """Return the parts of a file at these (offset, length), or why one cannot be had, by a single request.

        It also brings what lies between them. With a `tag`, parts of another content of the file are refused. Raises
        ItemError if nothing of it can be had.
        """
        taken = [span for span in spans if 0 < span[1] <= limit_bytes]
        begin = min((offset for offset, _ in taken), default=0)
        end = max((offset + length for offset, length in taken), default=0)
        content = self._read(path, limit_bytes, (begin, end - begin), tries, tag) if taken else b""
        view = memoryview(content)
        return [part_of(view, begin, span, limit_bytes) for span in spans]

    def identity(self, path: str) -> RemoteIdentity:
        """Return a file's size and what tells it from another one of its name, by one request. Raises ItemError."""
        self._check(path)
        try:
            return self._try(lambda: self._requests.identity(self._place(path)))
        except Final as error:
            raise ItemError("the file is empty" if str(error) == ENDS_EARLY else str(error)) from error

    def _read(
        self, path: str, limit_bytes: int, span: tuple[int, int] | None, tries: int = _TRIES, tag: str = ""
    ) -> bytes:
        self._check(path)
        try:
            return self._try(lambda: self._requests.part(self._place(path), limit_bytes, span, tag), tries)
        except Final as error:
            raise ItemError(str(error)) from error

    @staticmethod
    def _check(path: str) -> None:
        if path.startswith("/") or "\\" in path or ".." in PurePosixPath(path).parts:
            raise ItemError("leads outside its root (by '..' or '\\')")

    def fetch(self, path: str, file: Path) -> None:
        """Copy a file of any size to this host. Raises SourceError."""

        def copy() -> None:
            self._requests.copy(self._place(path), file)

        try:
            self._try(copy)
        except Final as error:
            raise SourceError(f"{self.name}/{path}: {error}") from error

    def walk(self, folder: str) -> Iterator[str]:
        """Yield the path below `folder` of every file below it, in no order; hidden ones are left out.

        Raises SourceError if the server does not list its folders.
        """
        try:
            if self._http:
                yield from self._walk_pages(self._place(folder), "", count())
                return
            place = self._place(folder).strip("/")
            for name in self._try(lambda: cast("list[str]", self._fs.find(self._place(folder)))):
                below = name.strip("/").removeprefix(place).lstrip("/")
                if not any(part.startswith(".") for part in below.split("/")):
                    yield below
        except Final as error:
            place = f"{self.name}/{folder}".rstrip("/")
            raise SourceError(f"{place}: cannot list the folder: {error}") from error

    def _walk_pages(self, url: str, below: str, pages: "count[int]") -> Iterator[str]:
        """Follow the links of index pages to what lies directly below each; `pages` numbers them."""
        hint = "links on the server that lead in circles?"
        if below.count("/") > _MOST_DEEP:
            raise Final(f"folders deeper than {_MOST_DEEP} ({hint}): {below}")
        if next(pages) >= _MOST_FOLDERS:
            raise Final(f"more than {_MOST_FOLDERS:,} folders ({hint}): list the images in a manifest")
        if urlsplit(url).query:
            raise Final("a URL with a query has no folders: list the images in a manifest")
        try:
            entries = self._try(lambda: cast("list[str]", self._fs.ls(url.rstrip("/") + "/", detail=False)))
        except Final as error:
            raise Final(f"{below}: {error}" if below else str(error)) from error
        start = urlsplit(url).path.rstrip("/")
        for entry in entries:
            link = urlsplit(entry)
            folder, _, quoted = link.path.rstrip("/").rpartition("/")
            name = unquote(quoted)
            if folder != start or link.query or link.fragment or not name or name.startswith(".") or "/" in name:
                continue  # sorting links, parents and what is not ours
            if link.path.endswith("/"):
                yield from self._walk_pages(entry, f"{below}{name}/", pages)
            else:
                yield below + name

    def _place(self, path: str) -> str:
        """Return fsspec's name of a path below the root."""
        if not self._http:
            return f"{self._root.rstrip('/')}/{path}".rstrip("/") if path else str(self._root)
        split = urlsplit(str(self._root))
        return urlunsplit(split._replace(path=f"{split.path.rstrip('/')}/{quote(path)}"))

    def _try(self, call: Callable[[], _Result], tries: int = _TRIES) -> _Result:
        for left in reversed(range(tries)):
            try:
                return call()
            except Final:
                raise
            except FileNotFoundError as error:
                raise Final("no such file (it vanished, or the source is out of date)") from error
            except PermissionError as error:
                raise Final("permission denied: the worker may not read it") from error
            except Exception as error:  # noqa: BLE001 - each file system raises errors of its own
                if not left:
                    self._give_up(error, tries)
                pause_s = _BACKOFF_S[-left] * random.uniform(0.5, 1.5)  # noqa: S311 - no secret
                time.sleep(max(pause_s, error.after_s if isinstance(error, AskLaterError) else 0.0))
        raise AssertionError("unreachable")

    def _give_up(self, error: Exception, tries: int) -> NoReturn:
        kind = "ConnectionError" if isinstance(error, AskLaterError) else type(error).__name__
        words = f"no answer within {url_requests.REQUEST_S:g} s" if isinstance(error, TimeoutError) else one_line(error)
        raise TriesOver(f"cannot read, {tries} times tried: {kind}: {words}") from error
