"""A stream without services: its batches are made one after the other in this process.

`penstock bench` compares it with workers. It uses the services' own task list, pipeline and order, so the batches are
the same, bit for bit.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from penstock.launcher.links import follow_links
from penstock.protocol.messages import TaskKey
from penstock.protocol.spec.spec import Spec
from penstock.protocol.wire import Array
from penstock.ventilator.sources.catalog import Catalog
from penstock.worker.imaging.parts.opening import open_any


class InlineFeed:
    """The batches of a spec's only stream."""

    def __init__(self, spec: Spec, roots: Mapping[str, str]) -> None:
        """List the source. Raises SpecError and SourceError."""
        known = spec.map_roots(spec.known_roots(roots))
        self._book = Catalog.open(follow_links(spec, known), known)
        [self.plan] = self._book.plans
        self._pipeline = open_any(self.plan, known)
        #: Items that could not be made.
        self.quarantined = 0

    def epoch(self, number: int) -> Iterator[dict[str, Array]]:
        """Yield the batches of one epoch, as `Feed` does."""
        geometry, settings = self.plan.geometry, self.plan.settings
        names = [field.name for field in self.plan.schema]
        position, stop = (each * geometry.samples_per_epoch for each in (number, number + 1))
        pending: list[Array] = []
        while position < stop:
            start, position = geometry.block_of(position)
            block = self._block(geometry.block_tasks(start))
            pending = [np.concatenate(pair) for pair in zip(pending, block, strict=True)] if pending else block
            whole = len(pending[0]) // settings.batch_size * settings.batch_size
            for first in range(0, whole, settings.batch_size):
                yield {
                    name: array[first : first + settings.batch_size] for name, array in zip(names, pending, strict=True)
                }
            pending = [array[whole:] for array in pending]
        if len(pending[0]) and not settings.drop_remainder:
            yield dict(zip(names, pending, strict=True))

    def _block(self, ordinals: range) -> list[Array]:
        """Make the samples of a block, in the order of their positions."""
        places, made = [], []
        for ordinal in ordinals:
            task = self._book.task(TaskKey(stream=self.plan.name, ordinal=ordinal), 0)
            outcome = self._pipeline.run(task)
            self.quarantined += len(outcome.failures)
            failed = [failure.offset for failure in outcome.failures]
            places.append(np.delete(self.plan.geometry.positions(ordinal), failed, axis=0).ravel())
            made.append(outcome.arrays)
        if len(made) == 1 and self.plan.geometry.mix == 1:
            return made[0]
        order = np.argsort(np.concatenate(places))
        return [np.concatenate(arrays)[order] for arrays in zip(*made, strict=True)]
