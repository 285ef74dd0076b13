"""A server that is not what its peer believes: it answers greetings and sends attacks."""

import time
from typing import Self

import zmq
from support.hostile import Frames
from support.mutations.report import Report
from support.streams import (
    DEADLINE_S,
)


class FalseServer:
    """A ROUTER that answers greetings, and sends attacks to the peer that spoke last."""

    def __init__(self, address: str, welcome: Frames, report: Report) -> None:
        """Bind, and greet each peer with `welcome`."""
        self._context = zmq.Context()
        self._router = self._context.socket(zmq.ROUTER)
        self._router.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._router.setsockopt(zmq.SNDHWM, 100)
        self._router.bind(address)
        self._welcome, self._report = welcome, report
        self._peer = b""
        self._heard_at = time.monotonic()

    def __enter__(self) -> Self:
        """Return the server itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close its socket."""
        self._context.destroy(linger=0)

    def send(self, frames: Frames) -> None:
        """Send to the peer as soon as it is here and has room."""
        deadline = time.monotonic() + DEADLINE_S
        while not self._sent(frames):
            assert time.monotonic() < deadline, f"{self._report.target} takes nothing any more"
            self._listen(0.02)
        self._listen(0)

    def rest(self) -> None:
        """Go on listening until the peer has spoken twice more: it has handled what was sent, or soon will."""
        for _ in range(2):
            heard, deadline = self._heard_at, time.monotonic() + DEADLINE_S
            while self._heard_at == heard:
                assert time.monotonic() < deadline, f"{self._report.target} is silent"
                self._listen(0.02)

    def _sent(self, frames: Frames) -> bool:
        if not self._peer:
            return False
        try:
            self._router.send_multipart([self._peer, *frames], zmq.NOBLOCK)
        except zmq.ZMQError:  # it has no room, or has a new identity
            return False
        return True

    def _listen(self, seconds: float) -> None:
        while self._router.poll(round(seconds * 1000)):
            peer = self._router.recv_multipart()[0]
            now = time.monotonic()
            if self._peer:
                self._report.silent_s = max(self._report.silent_s, now - self._heard_at)
            self._heard_at = now
            if peer != self._peer:
                self._peer = peer
                self._sent(self._welcome)
            seconds = 0
