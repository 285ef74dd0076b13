"""Collects a task's story from several processes: sends each the question, and answers once all have replied.

Used by the ventilator, which asks its workers and the sink, and by the sink, which asks its trainers. A process that
does not reply in time is named in the answer. No socket and no clock: messages and `now` in, instructions out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from penstock.protocol.event_log import MOST_PARTS
from penstock.protocol.instructions import Send
from penstock.protocol.messages import Story, StoryPart, StoryRequest, TaskKey
from penstock.protocol.records import MOST_S

#: Stories that are collected at once. Clients repeat a question that was not answered.
_MOST_OPEN = 32
#: Events in one answer, the newest: with `MOST_PARTS` parts, it fits into a message.
_MOST_EVENTS = 1000


@dataclass(frozen=True, slots=True)
class StoryAnswer:
    """A story that is complete, or whose time is up."""

    #: Routing identity of the process that asked.
    asker: bytes
    #: What the asker gave with its question.
    tag: int
    parts: tuple[StoryPart, ...]


@dataclass(slots=True)
class _Collection:
    asker: bytes
    tag: int
    #: When it is answered at the latest (monotonic s).
    due: float
    #: Names of the processes that have not replied.
    awaited: dict[bytes, str]
    #: Each part, and when it came (monotonic s).
    parts: list[tuple[float, StoryPart]] = field(default_factory=list[tuple[float, StoryPart]])


class StoryDesk:
    """Collects stories for one service; see the module's text."""

    def __init__(self, wait_s: float) -> None:
        """Wait at most `wait_s` for the replies to a question."""
        self._wait_s = wait_s
        self._next = 0
        self._open: dict[int, _Collection] = {}

    def ask(
        self, asker: bytes, tag: int, key: TaskKey, own: StoryPart, peers: Mapping[bytes, str], now: float
    ) -> list[Send]:
        """Begin to collect a story for `asker`; return the questions to send to `peers`, which maps them to names.

        `tag` comes back with the answer. A question that the asker repeats meanwhile is dropped.
        """
        if len(self._open) >= _MOST_OPEN or any(each.asker == asker for each in self._open.values()):
            return []
        number, self._next = self._next, self._next + 1
        self._open[number] = _Collection(asker, tag, now + self._wait_s, dict(peers), [(now, own)])
        request = StoryRequest(number=number, key=key)
        return [Send(peer, request) for peer in peers]

    def receive(self, peer: bytes, story: Story, now: float) -> None:
        """Handle a reply; one that comes after its story was answered is dropped."""
        collection = self._open.get(story.number)
        if collection and collection.awaited.pop(peer, None) is not None:
            collection.parts += [(now, part) for part in story.parts]

    def answers(self, now: float) -> list[StoryAnswer]:
        """Return the stories that are complete, and those whose time is up."""
        ready = [number for number, each in self._open.items() if not each.awaited or now >= each.due]
        return [self._answer(self._open.pop(number), now) for number in ready]

    def next_timer(self) -> float:
        """Return when to call `answers` next (monotonic s)."""
        return min((each.due for each in self._open.values()), default=float("inf"))

    def _answer(self, collection: _Collection, now: float) -> StoryAnswer:
        why = f"no answer within {self._wait_s:g} s"
        parts = [_aged(part, now - at) for at, part in collection.parts]
        parts += [StoryPart(service=name, missing=why) for name in collection.awaited.values()]
        parts = [part for part in parts if part.events or part.missing][:MOST_PARTS]
        return StoryAnswer(collection.asker, collection.tag, _newest(parts))


def _aged(part: StoryPart, by_s: float) -> StoryPart:
    """Return a part whose events are `by_s` older than when it came."""
    events = [event.model_copy(update={"ago_s": min(event.ago_s + by_s, MOST_S)}) for event in part.events]
    return part.model_copy(update={"events": tuple(events)})


def _newest(parts: list[StoryPart]) -> tuple[StoryPart, ...]:
    """Return the parts with the newest `_MOST_EVENTS` events of all."""
    places = [(event.ago_s, i, j) for i, part in enumerate(parts) for j, event in enumerate(part.events)]
    kept = {(i, j) for _, i, j in sorted(places)[:_MOST_EVENTS]}
    return tuple(
        part.model_copy(update={"events": tuple(event for j, event in enumerate(part.events) if (i, j) in kept)})
        for i, part in enumerate(parts)
    )
