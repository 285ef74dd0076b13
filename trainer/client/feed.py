"""`Feed`: a training program's batches from a running stack; subscribes to the sink."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.protocol.errors import SpecError
from penstock.protocol.plan import StreamPlan
from penstock.protocol.transport.keys import given_keys, open_keys
from penstock.protocol.transport.own_sockets import OWN_TRAINERS, resolve
from penstock.protocol.version import __version__
from penstock.trainer.client.link import Link
from penstock.trainer.client.ranks import find_rank
from penstock.trainer.client.session import SubscriptionConfig
from penstock.trainer.feed.batch_feed import BatchFeed
from penstock.trainer.feed.cursor import Cursor
from penstock.trainer.feed.stats import FeedStats

if TYPE_CHECKING:
    from penstock.trainer.adapters.normalize import BatchNormalizer

#: Most batches that may be asked for ahead.
_MAX_PREFETCH = 256


class Feed(BatchFeed[StreamPlan]):
    """A stream's batches, in order, each exactly once; made by `penstock.connect`.

    `for batch in feed` yields dicts of numpy arrays, by field: `image` uint8 (n, height, width, channels), `label`
    int32 (n,), `item` int64 (n,), `patch` int32 (n,); it ends with the epoch. Iterate again for the next one.

    Every wait ends after `timeout_s` with DeadlineError. RefusedError, FailureBudgetError and SpecError explain why the
    sink or the spec refuses the request. A feed must be used in the process that made it, in one place at a time.
    """

    def __init__(  # noqa: PLR0913 - by keyword, each with a default
        self,
        address: str = OWN_TRAINERS,
        stream: str = "train",
        *,
        rank: int | None = None,
        world_size: int | None = None,
        prefetch: int | None = None,
        timeout_s: float = 120.0,
        keys: str | Path | None = None,
        copy: bool = True,
        find: Callable[[], str] | None = None,
    ) -> None:
        """Remember what to subscribe to; the connection is made on first use.

        `address` is the sink's: tcp://host:5557, ipc:///path, or local:trainers, the default of a sink on this machine.
        `prefetch` is in batches; default: 4, or about 64 MB of small ones. `keys` is a key folder with a trainer's
        key; default: PENSTOCK_KEYS, or none. `rank` and `world_size` are by default those of torch.distributed or jax
        where that is initialised, or of torchrun, Slurm or MPI; else 0 of 1. Without `copy`, large fields are read-only
        arrays over memory that is shared with the workers, where there is some: it is theirs again once the last array
        over it is gone. `find` returns the sink's address; it is called, on a thread of the feed's, each time that the
        link was lost: on some engines, a sink that starts again has another address.
        """
        place = find_rank(rank, world_size)
        if prefetch is not None and not 1 <= prefetch <= _MAX_PREFETCH:
            raise SpecError(f"prefetch = {prefetch}: give 1 to {_MAX_PREFETCH} batches")
        where = resolve(address)
        ahead = None if prefetch is None else prefetch + 1
        ring = open_keys(given_keys(keys), "trainer")
        config = SubscriptionConfig(stream, place.rank, place.world_size, ahead, __version__, copy)
        stats = FeedStats()

        def subscribe(position: int, fingerprint: str) -> Link:
            return Link(where, config, position, fingerprint, ring, stats.waits, find=find)

        super().__init__(Cursor(where, config, timeout_s, subscribe), stats)

    def normalizer(self, roots: Mapping[str, str] | None = None) -> "BatchNormalizer":
        """Return a normaliser of this stream's images, numpy or tensors, if the spec leaves that to the trainer.

        `roots` maps the spec's roots to folders here: a ZCA matrix is read from its file. Raises SpecError.
        """
        from penstock.trainer.adapters.normalize import batch_normalizer  # noqa: PLC0415 - needed only here

        return batch_normalizer(self.plan, roots)
