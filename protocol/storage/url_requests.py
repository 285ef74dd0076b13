"""Makes single requests for files below a URL: a part of one, what identifies it, a copy; without retries.

`Http` asks by itself, `S3` through s3fs, and `Requests` through any other file system of fsspec. Each refuses a part
of another content than the one that is meant, where the server tells them apart. `urls.py` tries again.
"""

import math
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from penstock.protocol.storage.url_answers import (
    Final,
    RemoteIdentity,
    check_content,
    check_status,
    is_settled,
    part_bytes,
    size_told,
    tag_of,
)

#: Seconds that one request may take.
REQUEST_S = 20.0
#: Seconds that bringing a manifest or a shard here may take, and its largest size (bytes).
_COPY_S, _COPY_BYTES = 3600.0, 64_000_000_000
#: Bytes of a body that are taken at once.
_CHUNK_BYTES = 262_144
#: Offset and length of a part (bytes); None: the whole file.
Span = tuple[int, int] | None


@dataclass(slots=True)
class _Content:
    """Which content a file has, as its file system said when it was asked at a time (monotonic s)."""

    tag: str = ""
    asked: float = -math.inf
    #: Held while it is asked.
    lock: threading.Lock = field(default_factory=threading.Lock)


class Requests:
    """Requests to a file system of fsspec. Errors are those of the file system, and `Final`."""

    def __init__(self, fs: Any, *, allow_outside: bool = False) -> None:  # noqa: ANN401 - untyped
        """Take the file system; `allow_outside` permits HTTP to lead elsewhere."""
        self._fs, self._allow_outside = fs, allow_outside
        #: Guards what follows.
        self._lock = threading.Lock()
        #: Which content each file had last, and when it was asked for that.
        self._contents: dict[str, _Content] = {}

    def part(self, place: str, limit_bytes: int, span: Span, tag: str) -> bytes:
        """Return a part of a file; of a whole one, no more than a byte above the limit. `tag`: of this content only."""
        start, end = (0, limit_bytes + 1) if span is None else (span[0], span[0] + span[1])
        found = self._bytes(place, start, end, tag)
        if span is not None and len(found) > span[1]:
            raise ConnectionError(f"asked for {span[1]} bytes from {span[0]}, and {len(found)} came")
        return found

    def identity(self, place: str) -> RemoteIdentity:
        """Return a file's size and what tells it from another one of its name."""
        facts: Mapping[str, object] = self._call("info", place)
        size = facts.get("size")
        if not isinstance(size, int) or facts.get("type") == "directory":
            raise Final("no file, or one whose size is not told")
        return RemoteIdentity(size, tag_of(facts), settled=is_settled(facts, time.time()))

    def copy(self, place: str, file: Path) -> None:
        """Copy a file of any size to this host."""
        self._fs.get_file(place, str(file))

    def _bytes(self, place: str, start: int, end: int, tag: str) -> bytes:
        """Return the bytes from `start` to `end`; with a `tag`, look afterwards whether they are of this content."""
        found = cast("bytes", self._call("cat_file", place, start=start, end=end))
        if tag:
            self._check(place, tag, time.monotonic())
        return found

    def _check(self, place: str, tag: str, came: float) -> None:
        """Raise Final if a file, a part of which had come at this time (monotonic s), has another content since.

        One question that was asked after that answers all who wait here with parts of the file.
        """
        with self._lock:
            content = self._contents.setdefault(place, _Content())
        if not content.lock.acquire(timeout=REQUEST_S):
            raise TimeoutError
        try:
            if content.asked <= came:
                asked = time.monotonic()
                content.tag, content.asked = self.identity(place).tag, asked
            check_content(content.tag, tag)
        finally:
            content.lock.release()

    def _call(self, name: str, place: str, **options: int) -> Any:  # noqa: ANN401 - whatever the file system returns
        """Call a function of the file system: with a deadline, if it can be given one."""
        if self._fs.async_impl:
            return self._sync(getattr(self._fs, f"_{name}")(place, **options))
        return getattr(self._fs, name)(place, **options)

    def _sync(self, coroutine: Coroutine[Any, Any, Any], within_s: float | None = None) -> Any:  # noqa: ANN401 - as above
        """Run a coroutine on the file system's thread."""
        from fsspec.asyn import sync  # noqa: PLC0415 - an extra, and slow to import

        async def run() -> Any:  # noqa: ANN401 - as above
            return await coroutine

        return sync(self._fs.loop, run, timeout=within_s or REQUEST_S)


class S3(Requests):
    """Requests to S3 through s3fs: each answer with a part says of which content it is."""

    def _bytes(self, place: str, start: int, end: int, tag: str) -> bytes:
        return cast("bytes", self._sync(self._get_part(place, start, end, tag)))

    async def _get_part(self, place: str, start: int, end: int, tag: str) -> bytes:
        bucket, key, version = self._fs.split_path(place)
        asked = {"VersionId": version} if version else {}
        answer = await self._fs._call_s3(  # noqa: SLF001 - the public function hides the answer's ETag
            "get_object", Bucket=bucket, Key=key, Range=f"bytes={start}-{end - 1}", **asked, **self._fs.req_kw
        )
        body = answer["Body"]
        try:
            if tag:
                check_content(tag_of(answer), tag)
            told = answer.get("ContentRange")
            wanted = None if told is None else part_bytes({"Content-Range": told}, (start, end - start))
            found = cast("bytes", await body.read())
        finally:
            body.close()
        if wanted not in (None, len(found)):
            raise ConnectionError(f"asked for {wanted} bytes from {start}, and {len(found)} came")
        return found


class Http(Requests):
    """Requests by HTTP, whose answers are checked as they come."""

    def part(self, place: str, limit_bytes: int, span: Span, tag: str) -> bytes:
        """Return a part of a file."""
        content = bytearray()
        self._answer(place, limit_bytes, content.extend, REQUEST_S, span, tag)
        return bytes(content)

    def identity(self, place: str) -> RemoteIdentity:
        """Ask for the first byte: the answer tells size and content."""
        headers = self._answer(place, 1, lambda _: None, REQUEST_S, (0, 1))
        return RemoteIdentity(size_told(headers), tag_of(headers), settled=is_settled(headers, time.time()))

    def copy(self, place: str, file: Path) -> None:
        """Copy a file of any size to this host."""
        with file.open("wb") as opened:
            self._answer(place, _COPY_BYTES, opened.write, _COPY_S)

    def _answer(
        self,
        url: str,
        limit_bytes: int,
        take: Callable[[bytes], object],
        within_s: float,
        span: Span = None,
        tag: str = "",
    ) -> Mapping[str, str]:
        return cast("Mapping[str, str]", self._sync(self._get(url, limit_bytes, take, span, tag), within_s))

    async def _get(
        self, url: str, limit_bytes: int, take: Callable[[bytes], object], span: Span, tag: str
    ) -> Mapping[str, str]:
        """Ask for a file, one request; `take` gets it part by part, no more than the limit and a part."""
        session = await self._fs.set_session()
        headers = {"Accept-Encoding": "identity", "Range": f"bytes={span[0]}-{sum(span) - 1}"} if span else {}
        async with session.get(
            self._fs.encode_url(url), allow_redirects=self._allow_outside, headers=headers
        ) as response:
            told: Mapping[str, str] = response.headers
            check_status(response.status, told, part=span is not None)
            wanted = None if span is None else part_bytes(told, span)
            if tag:
                check_content(tag_of(told), tag)
            if wanted is None and (response.content_length or 0) > limit_bytes:
                raise Final(
                    f"{response.content_length} bytes is over the limit of {limit_bytes} bytes (transform.max_file_mb)"
                )
            size = 0
            async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
                size += len(chunk)
                if wanted is not None and size > wanted:
                    break
                take(chunk)
                if wanted is None and size > limit_bytes:
                    break
            if wanted not in (None, size):
                raise ConnectionError(f"asked for {wanted} bytes from {(span or (0, 0))[0]}, and {size} came")
            return told
