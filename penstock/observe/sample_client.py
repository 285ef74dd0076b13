"""Asks a running sink for copies of the samples it holds, without subscribing to the stream.

A subscription would make workers repeat samples, or hold the window up. This client sends `SampleRequest` until it has
as many samples as wanted or a deadline passes; trainers still receive every sample. `penstock view` and the dashboard
draw what it collects.
"""

import time
from collections.abc import Sequence
from contextlib import closing

from penstock.contact_sheet.samples import Sample
from penstock.protocol import wire
from penstock.protocol.errors import RefusedError, RemoteProtocolError
from penstock.protocol.messages import Refused, Reset, SampleReply, SampleRequest
from penstock.protocol.plan import StreamPlan
from penstock.protocol.runtime.log import library_logger
from penstock.protocol.transport.keys import KeyRing
from penstock.protocol.transport.sockets import Endpoint, Hub
from penstock.protocol.version import __version__
from penstock.protocol.wire import Array

_FROM_SINK = wire.kinds(SampleReply, Refused, Reset)
#: Seconds after which an unanswered request is sent again.
_AGAIN_S = 0.5
#: Most samples that one request asks for.
_MOST_AT_ONCE = 1000


class SampleCollection:
    """The samples of one stream that a sink has shown so far: in order, each once, at most `count`."""

    def __init__(self, stream: str, count: int) -> None:
        """Start empty."""
        self.stream, self.count = stream, count
        self.plan: StreamPlan | None = None
        self.samples: list[Sample] = []
        #: Whether any trainer reads the stream; None until the sink has answered.
        self.has_readers: bool | None = None
        self._next = 0

    @property
    def request(self) -> SampleRequest:
        """The next request: for samples after those already collected."""
        left = min(self.count - len(self.samples), _MOST_AT_ONCE)
        return SampleRequest(stream=self.stream, position=self._next, count=left, version=__version__)

    def add(self, reply: SampleReply, arrays: Sequence[Array]) -> bool:
        """Add a reply's samples; return whether any was new. Raises RemoteProtocolError if it breaks its own schema."""
        known = [(field.name, field.dtype, (len(reply.positions), *field.shape)) for field in reply.plan.schema]
        if known != [(frame.name, frame.dtype, frame.shape) for frame in reply.frames]:
            raise RemoteProtocolError("glimpse", f"{reply.frames} are not {len(reply.positions)} samples of {known}")
        if self.plan and self.plan.fingerprint != reply.plan.fingerprint:  # the stack was restarted with another spec
            self.samples, self._next = [], 0
        self.plan, self.has_readers = reply.plan, reply.readers > 0
        fresh = [index for index, position in enumerate(reply.positions) if position >= self._next]
        for index in fresh[: self.count - len(self.samples)]:
            fields = {frame.name: array[index, ...] for frame, array in zip(reply.frames, arrays, strict=True)}
            self.samples.append(Sample(reply.positions[index], f"item {int(fields['item'])}", fields))
            self._next = reply.positions[index] + 1
        return bool(fresh)


def collect_samples(
    sink: str, keys: KeyRing | None, collected: SampleCollection, *, wait_s: float, still_s: float
) -> None:
    """Fill `collected` from a sink; stop when it is full, after `still_s` without a new sample, or after `wait_s`.

    `still_s` (seconds) counts only once there is a sample; `wait_s` (seconds) bounds the whole call.
    Raises RefusedError.
    """
    with closing(Hub(library_logger("view", sink=sink), keys)) as hub:
        endpoint = hub.dealer(sink, _FROM_SINK, "sink")
        began = asked = news = time.monotonic()
        endpoint.send(collected.request)
        while True:
            hub.wait(min(_AGAIN_S, wait_s))
            now = time.monotonic()
            if fresh := _receive(hub, endpoint, collected):
                news = now
            still = collected.samples and now >= news + still_s
            if still or now > began + wait_s or len(collected.samples) == collected.count:
                return
            if fresh or now > asked + _AGAIN_S:
                endpoint.send(collected.request)
                asked = now


def _receive(hub: Hub, endpoint: Endpoint, collected: SampleCollection) -> bool:
    """Add every reply that has arrived; return whether any brought a new sample."""
    fresh = False
    for _, message, arrays in endpoint.receive():
        if isinstance(message, Refused):
            raise RefusedError(message.reason)
        if isinstance(message, SampleReply):
            try:
                fresh |= collected.add(message, arrays)
            except RemoteProtocolError as error:
                hub.rejects.add(error, endpoint.given)
    return fresh
