"""A core's log of its last events, and the messages that collect the story of one task from the logs of all cores.

Each entry is a tuple: adding one costs less than a microsecond, and text is made only when a story is asked for. The
ventilator asks workers and the sink, and the sink asks its trainers (`runtime/story_desk.py`).
"""

import re
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Annotated

from pydantic import Field, StringConstraints

from penstock.protocol.errors import SpecError
from penstock.protocol.records import MOST_S, Count, Message, Seconds, TaskKey, Text

#: Events that a core remembers. A task has about five at the ventilator and two at the sink.
MOST_EVENTS = 20_000
#: Events of one story, the newest.
MOST_TOLD = 200
#: Processes whose parts one answer holds at most.
MOST_PARTS = 500
#: Characters of an event's text; a longer one is cut, so that stories of many processes fit into one message.
_MOST_CHARACTERS = 500

#: stream/ordinal or stream/ordinal.offset, with numbers that fit a message.
_TASK_NAME = re.compile(r"(.+)/([0-9]{1,18})(?:\.([0-9]{1,18}))?", re.ASCII)

#: When (monotonic s), what happened, and to which unit of work, or to which tasks: stream, first ordinal and the one
#: after the last.
_Event = tuple[float, str, TaskKey | tuple[str, int, int]]


class StoryEvent(Message):
    """One event of a task in a core."""

    ago_s: Seconds
    """Seconds between the event and the moment at which the story was asked for."""
    what: Annotated[str, StringConstraints(max_length=_MOST_CHARACTERS)]
    """What happened."""
    item_offset: Count | None = None
    """Offset of the single item that it happened to; none if it happened to the whole task."""

    def __str__(self) -> str:
        """Return one line of the story."""
        item = "" if self.item_offset is None else f"item {self.item_offset}: "
        return f"{self.ago_s:9.3f} s ago  {item}{self.what}"


class StoryPart(Message):
    """What one process remembers of a task."""

    service: Text
    """Name of the process: `ventilator`, `sink`, a worker's name, or a trainer's stream and rank."""
    events: Annotated[tuple[StoryEvent, ...], Field(max_length=MOST_TOLD)] = ()
    """What happened to the task in this process lately, oldest event first."""
    missing: Text = ""
    """Why the process told nothing; empty if it answered."""


class StoryRequest(Message):
    """Asks a worker, the sink or a trainer what happened to a task lately; the answer is a `Story`."""

    number: Count
    """Number of this question; the answer repeats it."""
    key: TaskKey
    """Task, or one item of it."""


class Story(Message):
    """Answer to `StoryRequest`."""

    number: Count
    """Number of the question."""
    parts: Annotated[tuple[StoryPart, ...], Field(max_length=MOST_PARTS)]
    """The sender's own part; from a sink, also those of its trainers."""


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
        self._events.append((now, what, key))

    def add_tasks(self, now: float, stream: str, ordinals: tuple[int, int], what: str) -> None:
        """Remember what happened to all tasks from the first of `ordinals` to before the second."""
        self._events.append((now, what, (stream, *ordinals)))

    def add_ranges(self, now: float, stream: str, ranges: Iterable[tuple[int, int]], what: str) -> None:
        """Remember what happened to several ranges of tasks."""
        for ordinals in ranges:
            self.add_tasks(now, stream, ordinals, what)

    def story(self, key: TaskKey, now: float) -> tuple[StoryEvent, ...]:
        """Return the last events of a task, oldest first; of one item if the key names one."""
        found = deque(self._find(key), maxlen=MOST_TOLD)
        return tuple(
            StoryEvent(ago_s=min(max(0.0, now - at), MOST_S), what=what[:_MOST_CHARACTERS], item_offset=offset)
            for at, offset, what in found
        )

    def _find(self, key: TaskKey) -> Iterator[tuple[float, int | None, str]]:
        for at, what, named in self._events:
            if isinstance(named, TaskKey):
                stream, start, stop, offset = named.stream, named.ordinal, named.ordinal + 1, named.item_offset
            else:
                (stream, start, stop), offset = named, None
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


def in_order(parts: Iterable[StoryPart]) -> list[tuple[str, StoryEvent]]:
    """Return the events of all parts, oldest first, each with the name of its process.

    A reply travels for some milliseconds: events of two processes that are as close may stand in either order.
    """
    events = [(part.service, event) for part in parts for event in part.events]
    return sorted(events, key=lambda named: -named[1].ago_s)
