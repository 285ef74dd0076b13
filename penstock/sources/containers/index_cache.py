"""Keeps the indexes of shards in this user's cache folder, so that each shard is walked once only.

The folder is `penstock/shards` below `$XDG_CACHE_HOME` or `~/.cache`. An index that does not fit its shard's inode,
size and times of change (below a URL: the size and ETag that the server tells) is made anew; so is a damaged one.
Without a folder that can be written, every start walks the shards.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from penstock.protocol.storage.confined_files import Watch
from penstock.protocol.storage.user_cache import SETTLED_S, user_cache_folder, write_whole
from penstock.sources.containers.shard_index import ShardIndex

#: Counted up when an index of the same shard would be another one.
_VERSION = 6
#: What identifies the shard; its index without labels; the different labels, and which of them each item has.
_Entry = tuple[tuple[int | str, ...], ShardIndex, list[str], list[int]]
_FORMAT: TypeAdapter[_Entry] = TypeAdapter(_Entry)
#: Bytes of the checksum that stands before all this: a damaged number may still be JSON.
_SUM_BYTES = 16


def cached(
    place: str, fields: Mapping[str, object], identity: tuple[int | str, ...] | None, make: Callable[[], ShardIndex]
) -> ShardIndex:
    """Return the index of the shard at `place`, from the cache or made.

    `fields` are those of the source on which the index depends, in JSON's types. `identity`: what another content of
    the shard has another of; None: that is not known, so that nothing is kept.
    """
    file = _file(place, fields) if identity is not None else None
    if file is None or identity is None:
        return make()
    with contextlib.suppress(OSError, ValidationError, IndexError):  # none yet, or a damaged one: made below
        known, index, names, numbers = _FORMAT.validate_json(_checked(file.read_bytes()))
        index.labels = [names[number] for number in numbers]
        if known == identity and index.is_whole(labelled=bool(fields["label"])):
            return index
    index = make()
    with contextlib.suppress(OSError):  # a cache that cannot be written costs time only
        classes = {label: number for number, label in enumerate(dict.fromkeys(index.labels))}
        entry = (identity, replace(index, labels=[]), list(classes), [classes[each] for each in index.labels])
        body = _FORMAT.dump_json(entry)
        write_whole(file, [_sum(body), body])
    return index


def local_identity(shard: Watch, now: float) -> tuple[int, ...] | None:
    """Return what identifies an open file; None if it changed just before `now` (s since 1970), and may again."""
    settled = now - shard.identity[2] / 1e9 > SETTLED_S
    return (*shard.identity, shard.last_change_ns) if settled else None


def _checked(content: bytes) -> bytes:
    """Return what follows the checksum; nothing if it is of something else."""
    body = content[_SUM_BYTES:]
    return body if content[:_SUM_BYTES] == _sum(body) else b""


def _sum(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_SUM_BYTES).digest()


def _file(place: str, fields: Mapping[str, object]) -> Path | None:
    folder = user_cache_folder()
    if not folder.is_absolute():
        return None
    name = hashlib.sha256(
        json.dumps([_VERSION, place if "://" in place else os.path.realpath(place), fields], sort_keys=True).encode()
    ).hexdigest()
    return folder / "shards" / f"{name}.index"
