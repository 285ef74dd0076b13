"""Requests parts of a file below a URL together, and each by itself where that fails."""

import time
from collections.abc import Sequence

from penstock.protocol.errors import ItemError
from penstock.protocol.storage.url_answers import TriesOver
from penstock.protocol.storage.urls import Remote

#: Requests of single parts that may fail, and the seconds that they may take, before the rest is given up: else a
#: server that is gone would be asked once more for every image.
_MOST_FAILED, _MOST_FAILED_S = 8, 20.0


def read_together(
    remote: Remote, path: str, limit_bytes: int, spans: Sequence[tuple[int, int]], tag: str = ""
) -> list[bytes | ItemError]:
    """Return parts of a file by a single request, or why one cannot be had; with a `tag`, of this content only.

    If all tries of that request fail, each part is tried once by a request of its own: others than the one that the
    server cannot send may come.
    """
    try:
        return remote.read_spans(path, limit_bytes, spans, tag=tag)
    except ItemError as error:
        if len(spans) == 1 or not isinstance(error.__cause__, TriesOver):
            return [error] * len(spans)
        return _read_apart(remote, path, limit_bytes, spans, error, tag)


def _read_apart(
    remote: Remote, path: str, limit_bytes: int, spans: Sequence[tuple[int, int]], why: ItemError, tag: str
) -> list[bytes | ItemError]:
    """Return each part by one try, or `why` the request for all of them failed."""
    found: list[bytes | ItemError] = []
    failed, failed_s = 0, 0.0
    for span in spans:
        if failed >= _MOST_FAILED or failed_s >= _MOST_FAILED_S:
            found.append(why)
            continue
        began = time.monotonic()
        try:
            found += remote.read_spans(path, limit_bytes, [span], tries=1, tag=tag)
        except ItemError as error:
            failed, failed_s = failed + 1, failed_s + time.monotonic() - began
            found.append(why if isinstance(error.__cause__, TriesOver) else error)
    return found
