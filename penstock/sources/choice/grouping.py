"""Puts the items of a listing into the groups that `sampling` names, and says how long an epoch of them is."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from penstock.protocol.errors import SourceError
from penstock.protocol.order import Int64s
from penstock.protocol.sampling.groups import Groups, Phase, whole
from penstock.protocol.sampling.shard_order import Shards
from penstock.protocol.spec.choice.sampling import Sampling
from penstock.protocol.spec.spec import Stream
from penstock.protocol.storage.labels import some
from penstock.sources.base import Listing
from penstock.sources.choice.selected_listing import SelectedListing, labels_of, weights_of

#: Shards of a source whose order goes by them: every peer knows their sizes.
_MOST_SHARDS = 100_000
#: Different weights that items may have: each is a group, which every peer knows.
_MOST_WEIGHTS = 10_000


@dataclass(frozen=True, slots=True)
class Grouped:
    """A listing, the groups of its items if they share epochs by weight, and the items of an epoch."""

    listing: Listing
    groups: Groups | None
    items: int
    #: Shards of the listing, where the order goes by them.
    shards: Shards | None = None

    @property
    def digest(self) -> str:
        """Digest of the listing and of the groups."""
        if self.groups is None:
            return self.listing.digest
        return hashlib.sha256(f"{self.listing.digest} {self.groups.model_dump_json()}".encode()).hexdigest()


def group(stream: Stream, listing: Listing, where: str) -> Grouped:
    """Return a stream's listing in the order of its groups; `where` begins the message of the SourceError."""
    first, stride = stream.shard_of
    items = len(range(first, len(listing), stride))
    sampling = stream.sampling
    if not items:
        raise SourceError(f"{where}: shard {stream.shard} of {len(listing)} items is empty; use fewer shards")
    if stream.source.kind_name == "mixture" and (mixed := _mixed(stream, listing, where)):
        return mixed
    if stream.shuffle == "shards":
        return _by_shard(stream, listing, where)
    if sampling is None:
        return Grouped(listing, None, items)
    sizes: list[int] = [len(listing)]
    weights: tuple[int, ...] = (1,)
    if sampling.by == "class":
        listing, sizes, weights = _by_class(sampling, listing, where)
    elif sampling.by == "column":
        listing, sizes, weights = _by_column(listing, where)
    groups = Groups(sizes=tuple(sizes), phases=(Phase(weights=weights),))
    names = listing.classes if sampling.by == "class" else ()
    return _of_length(Grouped(listing, groups, items), stream, sampling, names, where)


def _mixed(stream: Stream, listing: Listing, where: str) -> Grouped | None:
    """Return the parts of a mixture as groups; None for a listing of another kind."""
    # It brings readers of every kind of part, which other sources do without.
    from penstock.sources.choice.mixture import MixtureListing, MixtureSource, groups_of  # noqa: PLC0415

    source = stream.source
    if not (isinstance(listing, MixtureListing) and isinstance(source, MixtureSource)):
        return None
    sampling = stream.sampling or Sampling()
    if sampling.by != "item" or stream.shuffle == "shards":
        raise SourceError(
            f'{where}: a mixture goes by the weights of its parts: leave sampling.by and shuffle = "shards" out'
        )
    groups = groups_of(source, listing.sizes, stream.shard_of)
    items = sum(groups.members(stream.shard_of))
    return _of_length(Grouped(listing, groups, items), stream, sampling, tuple(source.parts), where)


def _of_length(grouped: Grouped, stream: Stream, sampling: Sampling, names: Sequence[str], where: str) -> Grouped:
    """Return groups, of these names, with an epoch as long as sampling says. Raises SourceError if it cannot be."""
    groups = grouped.groups
    for number, members in enumerate(groups.members(stream.shard_of)) if groups else ():
        if groups and members == 0 and any(phase.weights[number] for phase in groups.phases):
            raise SourceError(
                f"{where}: {repr(names[number]) if names else f'group {number}'} has {groups.sizes[number]} items, of "
                f"which shard {stream.shard} gets none: give it weight 0, or use fewer shards"
            )
    items = sampling.epoch_items or grouped.items * sampling.repeat
    most = groups.most_even(stream.shard_of) if groups else items
    if not sampling.replacement and items > most:
        raise SourceError(
            f"{where}: an epoch of {items} items needs some of them twice, and sampling.replacement = false: give "
            f"sampling.epoch_items of at most {most}"
        )
    return replace(grouped, items=items)


def _by_shard(stream: Stream, listing: Listing, where: str) -> Grouped:
    if stream.sampling is not None:
        raise SourceError(f'{where}: shuffle = "shards" with sampling: give shuffle = true, or leave sampling out')
    sizes = listing.shard_sizes
    if not 0 < len(sizes) <= _MOST_SHARDS:
        raise SourceError(
            f'{where}: shuffle = "shards" needs a source of 1 to {_MOST_SHARDS} shards (tar, parquet, arrow, tfrecord, '
            f"mds, lmdb); kind = {stream.source.kind_name!r} has {len(sizes)}: give shuffle = true"
        )
    shards = Shards(sizes=sizes, window=stream.shard_window)
    items = sum(shards.members(stream.shard_of))
    if not items:
        raise SourceError(f"{where}: shard {stream.shard} of shards of {max(sizes)} items is empty; use fewer shards")
    return Grouped(listing, None, items, shards)


def _by_class(sampling: Sampling, listing: Listing, where: str) -> tuple[Listing, list[int], tuple[int, ...]]:
    if not listing.classes:
        raise SourceError(f'{where}: sampling.by = "class" needs labels, and the source has none')
    if unknown := sorted(sampling.weights.keys() - set(listing.classes)):
        raise SourceError(
            f"{where}: sampling.weights: no class is called {unknown[0]!r}; classes: {some(listing.classes)}"
        )
    labels = labels_of(listing)
    sizes = np.bincount(labels, minlength=len(listing.classes)).tolist()
    given = [
        sampling.weights.get(name, 1.0 if size else 0.0) for name, size in zip(listing.classes, sizes, strict=True)
    ]
    if not any(given):
        raise SourceError(f"{where}: sampling.weights leaves out every class: give one of them a weight above 0")
    return _sorted(listing, labels.astype(np.int64)), sizes, whole(given)


def _by_column(listing: Listing, where: str) -> tuple[Listing, list[int], tuple[int, ...]]:
    weights = weights_of(listing)
    if weights is None:
        raise SourceError(f'{where}: sampling.by = "column" needs source.weight_column, the column with the weights')
    raw, of_raw = np.unique(weights, return_inverse=True)
    values, of_rounded = np.unique([float(f"{each:.3g}") for each in raw.tolist()], return_inverse=True)
    of_value = of_rounded[of_raw]
    sizes = np.bincount(of_value, minlength=len(values))
    if len(values) > _MOST_WEIGHTS:
        raise SourceError(
            f"{where}: source.weight_column holds {len(values)} different weights, of 3 digits each; at most "
            f"{_MOST_WEIGHTS} may differ: round them"
        )
    if not values[-1] > 0:
        raise SourceError(f"{where}: source.weight_column: all weights are 0: give an item a weight above 0")
    shares = whole([float(value) for value in values])
    of_groups = [size * share for size, share in zip(sizes.tolist(), shares, strict=True)]
    return _sorted(listing, of_value.astype(np.int64)), sizes.tolist(), tuple(of_groups)


def _sorted(listing: Listing, numbers: Int64s) -> Listing:
    """Return the listing in the order of its groups' numbers."""
    if (np.diff(numbers) >= 0).all():
        return listing
    chosen = np.argsort(numbers, kind="stable").astype(np.int64)
    return SelectedListing(listing, chosen, labels_of(listing)[chosen], listing.classes)
