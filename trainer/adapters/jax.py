"""JAX: a feed's batches as arrays, or as global arrays that are sharded over a mesh of devices.

Every process of `jax.distributed` is a rank of the stream and brings its part of each global batch. Copies to the
devices are started ahead, on a thread, while the step runs.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from penstock.protocol.errors import PenstockError, SpecError
from penstock.protocol.wire import Array
from penstock.trainer.adapters.ahead import Ahead, timed
from penstock.trainer.adapters.batches import ResumableSource
from penstock.trainer.adapters.frameworks import JAX, import_framework
from penstock.trainer.adapters.loader import Loader


def loader(
    feed: ResumableSource,
    *,
    sharding: Any = None,
    fields: tuple[str, ...] | None = None,
    prefetch_to_device: int = 2,
) -> "JaxLoader":
    """Return a loader of a feed's batches: dicts of arrays by field, or tuples of `fields` in that order.

    Without a `sharding`, batches are numpy arrays, which any jitted function takes. With one, or one for each field,
    they are global `jax.Array`s: the batch axis of all processes' batches, joined in the order of their ranks. At most
    `prefetch_to_device` batches are copied ahead. The loader keeps no reference to what it yields, so a step may donate
    it. Raises SpecError for unknown fields, PenstockError if JAX is missing.
    """
    return JaxLoader(feed, sharding=sharding, fields=fields, prefetch_to_device=prefetch_to_device)


class JaxLoader(Loader[Any]):
    """A feed's batches for JAX, one epoch an iteration."""

    def __init__(
        self,
        feed: ResumableSource,
        *,
        sharding: Any = None,
        fields: tuple[str, ...] | None = None,
        prefetch_to_device: int = 2,
    ) -> None:
        """Take the arguments of `penstock.jax.loader`."""
        super().__init__(feed, fields, prefetch_to_device)
        self._sharding = sharding
        if sharding is not None:
            self._jax = import_framework("jax", "JAX", JAX)
            self._ahead = Ahead(feed, timed(self._place, feed.stats), prefetch_to_device)

    def __iter__(self) -> Iterator[Any]:
        """Yield the batches up to the end of the epoch; after a break, go on with the batch after the last."""
        if self._ahead is None:
            for arrays in self.feed:
                yield self._packed({field.name: arrays[field.name] for field in self.fields})
            return
        for placed in self._ahead:
            yield self._packed(placed)

    def _place(self, arrays: Mapping[str, Array]) -> "dict[str, Any]":
        """Start the copies of a batch to the devices."""
        return {field.name: self._global(field.name, arrays[field.name]) for field in self.fields}

    def _global(self, name: str, array: Array) -> Any:
        sharding = self._sharding
        if isinstance(sharding, Mapping):
            if name not in sharding:
                raise SpecError(f"sharding has no entry for field {name!r}: it has {', '.join(map(repr, sharding))}")
            sharding = sharding[name]
        try:
            return self._jax.make_array_from_process_local_data(sharding, array)
        except ValueError as error:  # jax's words for a batch that does not divide among the devices, among others
            raise PenstockError(
                f"field {name!r} of shape {array.shape} cannot be placed by {sharding}: {error}; a batch must divide "
                "among the devices: set drop_remainder = true and a batch_size that does"
            ) from error
