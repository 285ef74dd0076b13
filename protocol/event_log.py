"""A core's memory of its last events, so that the way of one task or batch through it can be told.

Each entry is a tuple: adding one costs less than a microsecond, and text is made only when a story is asked for.
"""

import re
from collections import deque
from collections.abc import Iterable, Iterator

from penstock.protocol.errors import SpecError
from penstock.protocol.records import MOST_S, Count, Message, Seconds, TaskKey, Text

#: Events that a core remembers. A task has about five at the ventilator and two at the sink.
MOST_EVENTS = 20_000
#: Events of one story, the newest.
MOST_TOLD = 200

#: stream/ordinal or stream/ordinal.offset, with numbers that fit a message.
_TASK_NAME = re.compile(r"(.+)/([0-9]{1,18})(?:\.([0-9]{1,18}))?", re.ASCII)

#: When (monotonic s), stream, first ordinal and the one after the last, offset of a single item or None, what happened.
_Event = tuple[float, str, int, int, int | None, str]


class StoryEvent(Message):
    """One event in the way of a task through a core."""

    ago_s: Seconds
    """Seconds between the event and the moment at which the story was asked for."""
    what: Text
    """What happened, in words."""
    item_offset: Count | None = None
    """Offset of the single item that it happened to; none if it happened to the whole task."""

    def __str__(self) -> str:
        """Return one line of the story."""
        item = "" if self.item_offset is None else f"item {self.item_offset}: "
        return f"{self.ago_s:9.3f} s ago  {item}{self.what}"


class EventLog:
    """The last events of one core; the oldest is forgotten first."""

    def __init__(self, most: int = MOST_EVENTS) -> None:
        """Start without events and remember `most` of them."""
        self._events: deque[_Event] = deque(maxlen=most)

    def __len__(self) -> int:
        """Return how many events are remembered."""
        return len(self._events)

    def add(self, now: float, key: TaskKey, what: str) -> None:
        """Remember what happened to one unit of work."""
        self._events.append((now, key.stream, key.ordinal, key.ordinal + 1, key.item_offset, what))

    def add_tasks(self, now: float, stream: str, ordinals: tuple[int, int], what: str) -> None:
        """Remember what happened to all tasks from the first of `ordinals` to before the second."""
        self._events.append((now, stream, *ordinals, None, what))

    def add_ranges(self, now: float, stream: str, ranges: Iterable[tuple[int, int]], what: str) -> None:
        """Remember what happened to several ranges of tasks."""
        for ordinals in ranges:
            self.add_tasks(now, stream, ordinals, what)

    def story(self, key: TaskKey, now: float) -> tuple[StoryEvent, ...]:
        """Return the last events of a task, oldest first; of one item if the key names one."""
        found = deque(self._find(key), maxlen=MOST_TOLD)
        return tuple(
            StoryEvent(ago_s=min(max(0.0, now - at), MOST_S), what=what[:4096], item_offset=offset)
            for at, offset, what in found
        )

    def _find(self, key: TaskKey) -> Iterator[tuple[float, int | None, str]]:
        # A copy: the thread that answers HTTP reads while the loop adds. Copying is one step of the interpreter.
        for at, stream, start, stop, offset, what in self._events.copy():
            if stream != key.stream or not start <= key.ordinal < stop:
                continue
            if key.item_offset is None or offset in (None, key.item_offset):
                yield at, offset, what


def parse_task_name(text: str) -> TaskKey:
    """Return the task that `stream/ordinal` names, or with `.offset` one item of it. Raises SpecError."""
    found = _TASK_NAME.fullmatch(text)
    if found is None:
        raise SpecError(f"{text!r} names no task: give stream/ordinal, as in train/17; train/17.2 is its third item")
    stream, ordinal, offset = found.groups()
    return TaskKey(stream=stream, ordinal=int(ordinal), item_offset=None if offset is None else int(offset))
