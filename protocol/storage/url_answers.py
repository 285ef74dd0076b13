"""Judges what a server answers: which failures last, which may pass, and whether the right bytes came.

`urls.py` makes the requests.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from penstock.protocol.errors import ItemError

#: HTTP status codes of files that are missing or forbidden, and of failures after which another try may work.
_GONE, _DENIED, _TRY_AGAIN = {404, 410}, {401, 403, 407}, {408, 425, 429, 500, 502, 503, 504}
#: What a server says of the part that it sends: first and last byte, and the file's size or `*`.
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")
#: Facts about a file that change with its content, as file systems of fsspec and HTTP call them, in small letters; an
#: ETag alone counts where there is one, because answers with a part of a file may lack the others.
_FACTS = frozenset({"last-modified", "lastmodified", "md5hash", "crc32c", "mtime"})
#: A file that changed less than this ago (s) may change again within the second that HTTP tells.
_SETTLED_S = 10.0
#: Longest time (s) for which a server's wish to be asked later is heeded.
_MOST_LATER_S = 5.0

#: Error for a part that a file does not hold.
ENDS_EARLY = "the file ends before the item does (it was cut, or the source is out of date)"

#: Error for a part of a file that is not the one that was listed.
REPLACED = "the file was replaced since it was listed: start again, so that it is listed anew"


class Final(Exception):  # noqa: N818 - never leaves this package
    """A failure that another try cannot mend; its text is the reason."""


class TriesOver(Final):
    """A failure that another try could have mended; none of them did."""


class AskLaterError(ConnectionError):
    """A failure that may pass; the server said after how many seconds."""

    def __init__(self, text: str, after_s: float) -> None:
        """Take the reason, and the time."""
        super().__init__(text)
        self.after_s = after_s


@dataclass(frozen=True, slots=True)
class RemoteIdentity:
    """What tells a file below a URL from another one of the same name."""

    size: int
    #: Digest of what else the server says of it, such as its ETag; empty: nothing that a change would show in.
    tag: str
    #: Whether another content is sure to have another tag.
    settled: bool = True


def check_status(status: int, headers: Mapping[str, str], *, part: bool) -> None:
    """Raise an error for a response's status if it is not that of a file or of a part of one."""
    if status in _GONE:
        raise FileNotFoundError
    if status in _DENIED:
        raise PermissionError
    if status == 416:  # noqa: PLR2004 - range not satisfiable
        raise Final(ENDS_EARLY)
    if 300 <= status < 400:  # noqa: PLR2004 - redirections
        raise Final(f"leads elsewhere (HTTP status {status}): allow_outside = true permits it")
    if status in _TRY_AGAIN:
        wish = headers.get("Retry-After", "")
        after_s = min(float(wish), _MOST_LATER_S) if wish.isdecimal() else 0.0
        raise AskLaterError(f"HTTP status {status}", after_s)
    if part and status == 200:  # noqa: PLR2004 - OK: the whole file
        raise Final("the server gives whole files only (it ignores HTTP Range): serve the files from another one")
    if status != (206 if part else 200):
        raise Final(f"HTTP status {status}")


def part_bytes(headers: Mapping[str, str], span: tuple[int, int]) -> int:
    """Return how many bytes of a part come: all that were asked for, or those up to the file's end.

    Raises ConnectionError if the server sends another part.
    """
    told = headers.get("Content-Range", "")
    found = _CONTENT_RANGE.fullmatch(told)
    offset, length = span
    if found is not None:
        first, last = int(found[1]), int(found[2])
        ends = last == offset + length - 1 or (last < offset + length - 1 and found[3] == str(last + 1))
        if first == offset and ends:
            return last - first + 1
    raise ConnectionError(f"asked for {length} bytes from {offset}, and the server sends {told or 'no Content-Range'}")


def size_told(headers: Mapping[str, str]) -> int:
    """Return the size of the file of which a part came. Raises Final if the server does not tell it."""
    found = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))
    if found is None or found[3] == "*":
        raise Final("the server does not tell the file's size (in Content-Range)")
    return int(found[3])


def tag_of(facts: Mapping[str, object]) -> str:
    """Return the digest of those facts about a file that change with its content; empty if none is told."""
    known = {name.lower(): str(value) for name, value in facts.items() if value is not None}
    if etag := known.get("etag", "").removeprefix("W/").strip('"'):
        return _digest(etag)
    told = sorted((name, value) for name, value in known.items() if name in _FACTS)
    return _digest(repr(told)) if told else ""


def is_settled(facts: Mapping[str, object], now: float) -> bool:
    """Return whether another content of a file is sure to have another tag; `now` in seconds since 1970."""
    known = {name.lower(): value for name, value in facts.items() if value is not None}
    if known.get("etag"):
        return True
    changed = known.get("last-modified")
    if not isinstance(changed, str):
        return False
    try:
        return now - parsedate_to_datetime(changed).timestamp() > _SETTLED_S
    except ValueError:
        return False


def check_content(tag: str, wanted: str) -> None:
    """Raise Final unless what came is of the content that is meant."""
    if tag != wanted:
        raise Final(REPLACED)


def _digest(told: str) -> str:
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def part_of(content: memoryview, begin: int, span: tuple[int, int], limit_bytes: int) -> bytes | ItemError:
    """Return a part of what came from `begin` on, or why it is not there."""
    offset, length = span
    if length > limit_bytes:
        return ItemError(f"{length} bytes is over the limit of {limit_bytes} bytes (transform.max_file_mb)")
    if length <= 0:
        return ItemError("the item is empty")
    part = content[offset - begin : offset - begin + length]
    if len(part) < length:
        return ItemError(f"{ENDS_EARLY}: only {len(part)} of {length} bytes came from offset {offset}")
    return bytes(part)
