"""Keeps the indexes of shards in this user's cache folder, so that each shard is walked once only.

The folder is `penstock/shards` below `$XDG_CACHE_HOME` or `~/.cache`. An index that does not fit its shard's inode,
size and times of change is made anew; so is one that cannot be read. Without a folder that can be written, every start
walks the shards.
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
_VERSION = 4
#: What identifies the shard; its index without labels; the different labels, and which of them each item has.
_Entry = tuple[tuple[int, int, int, int], ShardIndex, list[str], list[int]]
_FORMAT: TypeAdapter[_Entry] = TypeAdapter(_Entry)


def cached(
    place: str, fields: Mapping[str, object], shard: Watch, make: Callable[[], ShardIndex], now: float
) -> ShardIndex:
    """Return the index of the open shard at `place`, from the cache or made; `now` in seconds since 1970.

    `fields` are those of the source on which the index depends, in JSON's types.
    """
    file = _file(place, fields)
    if file is None:
        return make()
    identity = (*shard.identity, shard.last_change_ns)
    with contextlib.suppress(OSError, ValidationError, IndexError):  # none yet, or a damaged one: made below
        indexed, index, names, numbers = _FORMAT.validate_json(file.read_bytes())
        index.labels = [names[number] for number in numbers]
        if indexed == identity and index.is_whole(labelled=bool(fields["label"])):
            return index
    index = make()
    if now - shard.identity[2] / 1e9 > SETTLED_S:
        with contextlib.suppress(OSError):  # a cache that cannot be written costs time only
            known = {label: number for number, label in enumerate(dict.fromkeys(index.labels))}
            entry = (identity, replace(index, labels=[]), list(known), [known[each] for each in index.labels])
            write_whole(file, [_FORMAT.dump_json(entry)])
    return index


def _file(place: str, fields: Mapping[str, object]) -> Path | None:
    folder = user_cache_folder()
    if not folder.is_absolute():
        return None
    name = hashlib.sha256(json.dumps([_VERSION, os.path.realpath(place), fields], sort_keys=True).encode()).hexdigest()
    return folder / "shards" / f"{name}.json"
