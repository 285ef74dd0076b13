"""Copies of samples that the sink holds, for `penstock view` and the dashboard.

A preview is no reader: it makes, keeps, moves and delays nothing, and readers do not notice it. Batches may leave as
soon as they are complete; where nothing is held right now, a preview gets the next result that arrives.
"""

from collections.abc import Sequence

import numpy as np

from penstock.protocol.instructions import Send
from penstock.protocol.messages import SampleReply, SampleRequest
from penstock.protocol.order import Int64s
from penstock.protocol.wire import Array, frames_of
from penstock.sink.core.instructions import SinkInstruction
from penstock.sink.core.store import Store

#: Most bytes that one reply copies: a few milliseconds of the sink's only thread.
MOST_BYTES = 16_000_000
#: Requests that may wait; of more, the oldest is dropped.
MOST_WAITING = 16


class SamplePreviews:
    """Pending requests for samples, at most one for each peer."""

    def __init__(self) -> None:
        """Start without requests."""
        self._waiting: dict[bytes, SampleRequest] = {}

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._waiting)

    def ask(self, peer: bytes, request: SampleRequest, store: Store, readers: int) -> list[SinkInstruction]:
        """Answer with the samples held; if there are none but the stream has readers, keep the request."""
        self.forget(peer)
        message, arrays = sample_reply(store, request, readers)
        if message.positions or not readers:
            return [Send(peer, message, arrays)]
        self._waiting[peer] = request
        if len(self._waiting) > MOST_WAITING:
            self.forget(next(iter(self._waiting)))
        return []

    def came(self, store: Store, readers: int) -> list[SinkInstruction]:
        """Answer all kept requests for this stream: a result has just arrived, and may leave at once."""
        waiting = {peer: request for peer, request in self._waiting.items() if request.stream == store.plan.name}
        return [send for peer, request in waiting.items() for send in self.ask(peer, request, store, readers)]

    def forget(self, peer: bytes) -> None:
        """Drop the request of a peer that left."""
        self._waiting.pop(peer, None)


def sample_reply(store: Store, request: SampleRequest, readers: int) -> tuple[SampleReply, list[Array]]:
    """Return copies of the requested samples that are held, those at the lowest positions."""
    most = max(1, min(request.count, MOST_BYTES // store.plan.sample_bytes))
    pieces: list[tuple[Int64s, Sequence[Array]]] = []
    found = 0
    for positions, arrays in store.held():
        pieces.append((positions, arrays))
        found += int((positions >= request.position).sum())
        if found >= most:
            break
    places = sorted(
        (position, piece, row)
        for piece, (held, _) in enumerate(pieces)
        for row, position in enumerate(held.tolist())
        if position >= request.position
    )[:most]
    copies: list[Array] = []
    for index, field in enumerate(store.schema):
        copies.append(np.empty((len(places), *field.shape), field.dtype))
        for target, (_, piece, row) in enumerate(places):
            copies[-1][target] = pieces[piece][1][index][row]
    shown = tuple(position for position, _, _ in places)
    return SampleReply(
        plan=store.plan, readers=readers, positions=shown, frames=frames_of(store.schema, copies)
    ), copies
