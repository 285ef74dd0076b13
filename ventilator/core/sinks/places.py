"""Whether a sink may take the place of another one that is connected: only if that one is gone.

Part of the leases core: no socket, no clock. Two sinks that live may claim one place: two of one name or without
names, such as a host that was lost and comes back after its replacement. Each would take the place again with each
hello, for ever, and what it needs would be forgotten each time. So the one that serves keeps its place for as long as
it is heard, and the other one ends with an explanation. After a standstill of the ventilator, or of the network, what
both have said is read in any order: so a sink is gone only if it was silent for long when the other one asked, and was
not heard until that one asked again, a heartbeat later. A sink that is started again on the same host and at the same
address has its place at once: the one before it cannot live there. If it speaks nevertheless, its place is its own
again, even if a third one has it by then: of several that live at one address, the one that was replaced first.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from penstock.protocol.instructions import Instruction, Note, Send
from penstock.protocol.messages import Drain, Intervals, SinkHello
from penstock.ventilator.core.sink_link import SinkLink

#: Heartbeats after which one that is not heard gives up its place, and after which one that is heard keeps it: what was
#: heard just after the hello may be a dead sink's last words.
_QUIET_BEATS, _LIVING_BEATS = 2.5, 1.0
#: Heartbeats after which it is forgotten that a sink asked; incarnations that are remembered.
_FORGET_BEATS, _MOST_KNOWN = 20.0, 256


@dataclass(slots=True)
class _Ask:
    """A sink that asks for a place: since when, and since when those that have it were found silent."""

    first_at: float
    quiet_at: float = math.inf
    #: Whether it was noted that it waits.
    noted: bool = False


class Places:
    """The sinks that ask for the place of another one."""

    def __init__(self, intervals: Intervals) -> None:
        """Begin with none."""
        self._beat_s = intervals.heartbeat_s
        #: Those that ask, by incarnation, and were not answered yet.
        self._asked: dict[str, _Ask] = {}
        #: The incarnations that were replaced, in that order.
        self._replaced: dict[str, None] = {}
        #: Those that had taken the place of one that lives: it has it again.
        self._refused: dict[str, None] = {}

    def is_free(self, hello: SinkHello, holders: Sequence[SinkLink], now: float) -> bool:
        """Return whether a sink may join in place of these."""
        others = [each for each in holders if each.hello and not self._succeeds(hello, each.hello)]
        if others:
            ask = self._asked.setdefault(hello.incarnation, _Ask(now))
            heard_at = max((each.live.heard_at for each in others if each.live), default=-math.inf)
            if now < heard_at + _QUIET_BEATS * self._beat_s:
                return False
            if not heard_at < ask.quiet_at <= now:
                ask.quiet_at = now
            if now < ask.quiet_at + _LIVING_BEATS * self._beat_s:
                return False
        self._asked.pop(hello.incarnation, None)
        return True

    def answer(self, peer: bytes, hello: SinkHello, holders: Sequence[SinkLink], now: float) -> list[Instruction]:
        """Let a sink wait until it is known whether the holders of its place live; refuse it if one does."""
        ask = self._asked.setdefault(hello.incarnation, _Ask(now))
        recent = [
            (key, each) for key, each in self._asked.items() if now < each.first_at + _FORGET_BEATS * self._beat_s
        ]
        self._asked = dict(recent[-_MOST_KNOWN:])
        living_at = ask.first_at + _LIVING_BEATS * self._beat_s
        living = (each.hello for each in holders if each.live and each.live.heard_at >= living_at)
        holder = next((other for other in living if other and not self._succeeds(hello, other)), None)
        if holder is None:
            fields = {"results": hello.results} | ({"sink": hello.name} if hello.name else {})
            fresh, ask.noted = not ask.noted, True
            return [Note("sink waits for a place", fields, "warning")] if fresh else []
        reason = (
            f"{_called(holder)} serves at {holder.results}, and lives; {_called(hello)} at {hello.results} cannot be "
            "next to it. Give each sink a --name of its own, or end that one first"
        )
        return [Send(peer, Drain(reason=reason)), Note("sink refused", {"reason": reason}, "error")]

    def take(self, hello: SinkHello, other: SinkHello) -> None:
        """Note that a sink takes the place of another one, or of itself after its link was opened again."""
        if hello.incarnation == other.incarnation:
            return
        if hello.incarnation in self._replaced:
            self._refused[other.incarnation] = None
        else:
            self._replaced.setdefault(other.incarnation)
        for known in (self._refused, self._replaced):
            while len(known) > _MOST_KNOWN:
                del known[next(iter(known))]

    def _succeeds(self, hello: SinkHello, other: SinkHello) -> bool:
        """Return whether a sink is the same as another one, or was started where that one was."""
        mine = hello.incarnation
        if mine == other.incarnation:
            return True
        if mine in self._refused or (hello.results, hello.host) != (other.results, other.host):
            return False
        if mine not in self._replaced:
            return True
        return mine == next(each for each in self._replaced if each in (mine, other.incarnation))


def _called(hello: SinkHello) -> str:
    return f"a sink named {hello.name!r}" if hello.name else "a sink without a name"
