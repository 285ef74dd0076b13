"""Reads a file's batches ahead, in a thread, while the program trains, and limits how far ahead it reads.

A window is read in one go and cut into batches; the next one is read as soon as all batches of the last one wait here,
so that two are in memory, and a third if the program still holds its last batch. Other modules read the rows.
"""

import os
import threading
from collections.abc import Iterator
from typing import Self

import numpy as np

from penstock.protocol.errors import PenstockError
from penstock.protocol.messages import EpochEnd
from penstock.protocol.wire import Array
from penstock.trainer.client.inbox import Inbox
from penstock.trainer.client.session import Ended, SubscriptionConfig
from penstock.trainer.feed.supply import Event, Ready
from penstock.trainer.hdf5.order import Rounds
from penstock.trainer.hdf5.plan import FilePlan
from penstock.trainer.hdf5.rows import SampleRows

#: How often a thread that waits for room checks whether it is still wanted (s).
_LOOK_S = 1.0


def read_events(plan: FilePlan, rows: SampleRows, config: SubscriptionConfig, position: int) -> Iterator[Event]:
    """Yield one rank's batches and the ends of epochs from a position on, for ever. Raises SourceError."""
    epoch = plan.epoch_of(position)
    while True:
        yield from _epoch(plan, rows, config, epoch, position)
        position = plan.epoch_span(epoch)[1]
        epoch += 1


def _epoch(plan: FilePlan, rows: SampleRows, config: SubscriptionConfig, epoch: int, position: int) -> Iterator[Event]:
    low, high = plan.epoch_span(epoch)
    cut = plan.settings
    rounds = Rounds(high - position, cut.batch_size, config.rank, config.world_size, cut.drop_remainder)
    number, held = 0, 0
    parts: list[dict[str, Array]] = []
    begin = position - low
    for window in plan.order.windows(epoch, begin) if len(rounds) else ():
        start = max(window.start, begin)
        places = np.flatnonzero(rounds.mine(start - begin, window.stop - begin)) + (start - window.start)
        fields = rows.read(epoch, window.rows[places if window.order is None else window.order[places]])
        at, count = 0, len(places)
        while number < len(rounds) and held + count - at >= (size := rounds.batch(number)[0]):
            stop = at + size - held
            parts.append({name: array[at:stop] for name, array in fields.items()})
            yield Ready(rows.join(parts), position + rounds.batch(number)[1])
            number, held, parts, at = number + 1, 0, [], stop
        if at < count:
            parts.append({name: array[at:] for name, array in fields.items()})
            held += count - at
    expected = high - position
    delivered = expected - rounds.dropped
    end = EpochEnd(
        epoch=epoch,
        sequence=number,
        stop=high,
        expected=expected,
        delivered=delivered,
        quarantined=0,
        dropped=rounds.dropped,
    )
    yield Ended(high, end)


class FileSupply(Inbox):
    """Reads a file's batches by a thread of its own, which starts with the first use."""

    def __init__(self, plan: FilePlan, rows: SampleRows, config: SubscriptionConfig, ahead: int) -> None:
        """Be ready; at most `ahead` batches wait here."""
        self.plan, self._rows, self._config, self._ahead = plan, rows, config, ahead
        super().__init__()
        self._target: int | None = None
        self._closing = False
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()

    def begin(self, position: int, fingerprint: str) -> Self:
        """Read from a position on; return itself."""
        self.seek(position, fingerprint)
        return self

    @property
    def advice(self) -> str:
        """What to check if nothing comes."""
        return "the file is being read and its disk does not answer: see whether it can be read otherwise (cp, h5ls)"

    def welcomed(self, timeout_s: float) -> bool:
        """Return True: the plan was known from the beginning."""
        del timeout_s
        return True

    def consumed(self) -> None:
        """Do nothing: a batch's memory comes back when the program lets go of it."""

    def seek(self, position: int, fingerprint: str) -> None:
        """Go on from another position: what waits here is dropped."""
        del fingerprint  # compared before it came here
        with self._changed:
            self._target = position
            self._events.clear()
            if self._thread is None and not self._closing:
                self._thread = threading.Thread(target=self._run, name=f"penstock {self.plan.name}", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def close(self, *, wait: bool = True) -> None:
        """End the thread and close the file, and `wait` until that is done; does nothing in a forked process."""
        if self._pid != os.getpid():
            return
        with self._changed:
            self._closing = True
            self._events.clear()
            self._changed.notify_all()
        if self._thread is None:
            self._rows.close()
        elif wait:
            self._join(self._thread)

    def _run(self) -> None:
        try:
            while not self._closing:
                with self._changed:
                    target, self._target = self._target, None
                    if target is None:
                        self._changed.wait(_LOOK_S)
                        continue
                self._read(target)
        except BaseException as error:  # noqa: BLE001 - raised where the program waits
            self.fail(error)
        finally:
            self._rows.close()

    def _taken(self, event: Event) -> None:
        """Tell the thread that there is room."""
        del event
        self._changed.notify_all()

    def _read(self, position: int) -> None:
        """Put events until the supply is closed or moved to another position; Penstock's own errors are events too."""
        try:
            for event in read_events(self.plan, self._rows, self._config, position):
                if not self._put(event):
                    return
        except PenstockError as error:
            self._put(error)

    def _put(self, event: Event) -> bool:
        """Wait for room; return whether the event was still wanted."""
        with self._changed:
            while len(self._events) >= self._ahead and not self._closing and self._target is None:
                self._changed.wait(_LOOK_S)
            if self._closing or self._target is not None:
                return False
            self._events.append(event)
            self._changed.notify_all()
            return True
