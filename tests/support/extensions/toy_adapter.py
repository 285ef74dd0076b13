"""An adapter for a toy framework of nested lists, written as a user of the extension point would write one.

It fetches a batch ahead, and its state is the position after the last batch that the loop has finished with.
"""

from collections.abc import Iterator
from typing import Any

from penstock.trainer.adapters.batches import ResumableSource


class ListLoader:
    """Batches as tuples of nested lists, one epoch an iteration, with one batch fetched ahead."""

    def __init__(self, feed: ResumableSource, *fields: str) -> None:
        """Take a feed and the fields of a tuple."""
        self._feed, self._fields = feed, fields
        self._position: int | None = None

    def __len__(self) -> int:
        """Return the batches of a whole epoch."""
        return self._feed.batches_per_epoch

    def __iter__(self) -> Iterator[tuple[list[Any], ...]]:
        """Yield the batches of one epoch."""
        feed, fetched, batches = self._feed, self._feed.track(), self._feed.next_epoch(timed=False)
        if self._position is None:  # nothing is finished before the first batch is fetched
            self._position = feed.state_dict()["position"]
        feed.stats.ask()
        upcoming = next(batches, None)
        while upcoming is not None:
            current, upcoming = upcoming, next(batches, None)
            feed.stats.receive()
            yield tuple(current[field].tolist() for field in self._fields)
            feed.stats.ask()
            self._position = fetched.popleft()
        feed.stats.receive()

    def state_dict(self) -> dict[str, Any]:
        """Return the state after the last batch that the loop has finished with."""
        state = self._feed.state_dict()
        return state if self._position is None else state | {"position": self._position}
