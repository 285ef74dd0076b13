"""Looks host names up in threads: a name server that is slow or does not answer keeps nothing else waiting.

ZeroMQ would look a name up in the thread that serves all sockets of a process, at each try to connect: meanwhile no
heartbeat is sent. So it only gets the addresses that are found here.
"""

import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Answer:
    """What a name stands for."""

    #: Addresses, those first that this host reaches best; IPv6 in brackets.
    hosts: tuple[str, ...] = ()
    #: Why there are none.
    problem: str = ""


#: Takes an answer, in the thread that looked it up.
Tell = Callable[[Answer], None]


class Names:
    """Looks up each name in a thread of its own, once at a time: who asks meanwhile gets the same answer."""

    def __init__(self) -> None:
        """Look nothing up yet."""
        self._asking: dict[str, list[Tell]] = {}
        self._lock = threading.Lock()

    def look_up(self, name: str, tell: Tell) -> None:
        """Begin to look `name` up; `tell` is called once, whenever that ends. Callable from any thread."""
        with self._lock:
            if name in self._asking:
                self._asking[name].append(tell)
                return
            self._asking[name] = [tell]
        try:
            threading.Thread(target=self._find, args=(name,), name="look-up", daemon=True).start()
        except RuntimeError as error:  # no room for one more thread: it is asked again
            self._end(name, Answer(problem=not_found(name, error)))

    def _find(self, name: str) -> None:
        self._end(name, _answer_for(name))

    def _end(self, name: str, answer: Answer) -> None:
        with self._lock:
            asking = self._asking.pop(name)
        for tell in asking:
            tell(answer)


def not_found(name: str, error: Exception) -> str:
    """Return what to say of a name that could not be looked up."""
    return f"this host cannot look {name!r} up ({error})"


def _answer_for(name: str) -> Answer:
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # UnicodeError: a label of the name is empty or too long
        return Answer(problem=not_found(name, error))
    hosts = dict.fromkeys(str(each[4][0]) for each in found)
    return Answer(tuple(f"[{host}]" if ":" in host else host for host in hosts))
