"""Lists the shards below a URL: asks which content each has, many at once, and brings those whose index is not known.

An index is kept in this user's cache folder, and counts for that content only.
"""

import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from penstock.protocol.errors import ItemError, SourceError
from penstock.protocol.storage.url_answers import RemoteIdentity
from penstock.protocol.storage.urls import Remote
from penstock.sources.containers.index_cache import cached
from penstock.sources.containers.shard_index import ShardIndex
from penstock.sources.fetchers import REQUESTS, fetchers

#: Opens as much of a shard as its index needs.
Bring = Callable[[Remote, str, RemoteIdentity], AbstractContextManager[BinaryIO]]


@dataclass(frozen=True, slots=True)
class RemoteShard:
    """A shard below a URL, and its items."""

    path: str
    #: How messages call it.
    name: str
    identity: RemoteIdentity
    index: ShardIndex


@contextmanager
def whole(remote: Remote, path: str, identity: RemoteIdentity) -> Generator[BinaryIO]:
    """Copy a shard to this host for a while; yield it opened. Raises SourceError."""
    del identity
    with tempfile.TemporaryDirectory(prefix="penstock-") as folder:
        file = Path(folder) / "shard"
        remote.fetch(path, file)
        with file.open("rb") as opened:
            yield opened


def list_remote(
    remote: Remote,
    paths: Sequence[str],
    fields: Mapping[str, object],
    read: Callable[[BinaryIO, str], ShardIndex],
    bring: Bring,
) -> Iterator[RemoteShard]:
    """Yield the shards, in their order; `fields` are those of the source on which an index depends.

    Raises SourceError.
    """
    identities = fetchers(REQUESTS).map(remote.identity, paths)
    for number, path in enumerate(paths):
        name = f"{remote.name}/{path}"
        try:
            identity = identities[number]
        except ItemError as error:
            raise SourceError(f"{name}: {error}") from error
        yield RemoteShard(path, name, identity, _index(remote, path, identity, fields, read, bring))


def _index(
    remote: Remote,
    path: str,
    identity: RemoteIdentity,
    fields: Mapping[str, object],
    read: Callable[[BinaryIO, str], ShardIndex],
    bring: Bring,
) -> ShardIndex:
    name = f"{remote.name}/{path}"

    def make() -> ShardIndex:
        with bring(remote, path, identity) as opened:
            index = read(opened, name)
        try:
            now = remote.identity(path)
        except ItemError as error:
            raise SourceError(f"{name}: {error}") from error
        if (now.size, now.tag) != (identity.size, identity.tag):
            raise SourceError(f"{name}: it was changed while it was listed: start again once it stays as it is")
        return index

    keeps = bool(identity.tag) and identity.settled
    return cached(name, fields, (identity.size, identity.tag) if keeps else None, make)
