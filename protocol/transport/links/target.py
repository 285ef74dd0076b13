"""Where an endpoint connects to: the address that it was given, or one of those that the name in it stands for.

Decides when a name is looked up, and what an answer changes. Opens no socket, and belongs to its endpoint's thread.
"""

import math
import threading
import time
from collections.abc import Callable

from penstock.protocol.transport.addresses import name_in, on_host
from penstock.protocol.transport.links.names import Answer, Names

#: Pause (s) before a name is looked up again, or the next of its addresses tried; and the longest, as it doubles.
_AGAIN_S, _LONGEST_AGAIN_S = 0.1, 1.0


class Target:
    """One address. A name is looked up until there is a link, and again whenever that breaks."""

    def __init__(self, given: str, names: Names, wake: Callable[[], None]) -> None:
        """Look nothing up yet; `wake` is called in another thread when there is an answer."""
        self.given, self._names, self._wake = given, names, wake
        self._name = name_in(given)
        #: What to connect to; empty while it is not known.
        self.where = "" if self._name else given
        #: Why the name in it could not be looked up the last time.
        self._why_not = ""
        self._found: list[str] = []
        #: The answer to the last question, once there is one; `_told` is set by the thread that brings it.
        self._answer: Answer | None = None
        self._told = threading.Event()
        self._asking = False
        #: Whether a link broke, or nothing was found, since the name was looked up last.
        self._stale = True
        #: When it may be looked up again, and the next of its addresses be tried (monotonic s), and pauses before that.
        self._ask_at = self._move_at = -math.inf
        self._ask_pause_s = self._move_pause_s = _AGAIN_S
        #: Whether the last try to connect failed.
        self._failed = False

    def __repr__(self) -> str:
        """Show the address, and what it stands for."""
        return f"<Target {self.given}: {self.where or 'not known yet'}>"

    @property
    def is_name(self) -> bool:
        """Whether the address has a name in it, which can come to stand for something else."""
        return bool(self._name)

    @property
    def problem(self) -> str:
        """Why it is not known, or may be out of date, what the name in it stands for; empty if that is known."""
        return self._why_not or ("" if self.where else f"the name server has not answered yet for {self._name!r}")

    def tend(self, now: float, *, linked: bool) -> float:
        """Heed an answer, which may change `where`, and look up again if it is time; return the next time to call.

        An answer makes that earlier: it calls `wake`.
        """
        if not self._name:
            return math.inf
        if self._answer is not None:
            answer, self._answer, self._asking = self._answer, None, False
            self._heed(answer, now)
        if linked:
            self._failed, self._move_pause_s = False, _AGAIN_S
        moves_at = self._move(now)
        if self._asking or (linked and not self._stale):
            return moves_at
        if now < self._ask_at:
            return min(self._ask_at, moves_at)
        self._asking, self._stale = True, False
        self._told.clear()
        self._names.look_up(self._name, self._tell)
        return moves_at

    def broke(self) -> None:
        """Note that a link was lost: the name may stand for another host by now."""
        self._stale = True

    def failed(self) -> None:
        """Note that nothing accepted a connection: with several addresses, the next one is tried after a pause."""
        self._failed = True

    def next(self) -> None:
        """Change `where` to the next address of a name that has several; ZeroMQ tries a single one again by itself."""
        if self.where in self._found:
            self.where, self._failed = self._found[(self._found.index(self.where) + 1) % len(self._found)], False

    def wait(self, until: float) -> None:
        """Wait for an answer, or until the name may be looked up again."""
        patience = until if self._asking else min(until, self._ask_at)
        pause_s = max(0.0, patience - time.monotonic())
        if self._asking:
            self._told.wait(pause_s)
        else:
            time.sleep(pause_s)

    def _heed(self, answer: Answer, now: float) -> None:
        """Note what was found. Addresses keep their order, so that each gets its turn however a server mixes them."""
        self._why_not = answer.problem
        if not answer.hosts:
            self._stale, self._ask_at = True, now + self._ask_pause_s
            self._ask_pause_s = min(2 * self._ask_pause_s, _LONGEST_AGAIN_S)
            return
        self._ask_at, self._ask_pause_s = now + _LONGEST_AGAIN_S, _AGAIN_S
        fresh = [on_host(self.given, host) for host in answer.hosts]
        kept = [each for each in self._found if each in fresh]
        self._found = kept + [each for each in fresh if each not in kept]
        if self.where not in self._found:
            self.where, self._failed = self._found[0], False

    def _move(self, now: float) -> float:
        """Change `where` to the next address if the last one failed; return when it is time to, else infinity."""
        if not self._failed or len(self._found) < 2:  # noqa: PLR2004
            return math.inf
        if now < self._move_at:
            return self._move_at
        self.next()
        self._move_at = now + self._move_pause_s
        self._move_pause_s = min(2 * self._move_pause_s, _LONGEST_AGAIN_S)
        return math.inf

    def _tell(self, answer: Answer) -> None:
        self._answer = answer
        self._told.set()
        self._wake()
