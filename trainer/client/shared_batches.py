"""The shared memory of a sink on this host: tries whether it can be opened, and takes batches out of it.

`sink/shared_batches.py` is the sink's half. Batches are copied before the sink may write to their memory again; or, if
the program allows it, they are shown to it where they lie, and the memory is held for as long as it keeps them.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

from penstock.protocol.errors import RemoteProtocolError
from penstock.protocol.messages import Batch, Reference
from penstock.protocol.plan import StreamPlan
from penstock.protocol.transport.segments import loan_of
from penstock.protocol.transport.shared_memory import Attachments
from penstock.protocol.wire import Array
from penstock.trainer.client.buffers import Buffers

#: Segments of shared memory that stay mapped: each takes one of the program's file descriptors.
_SEGMENTS = 256
#: Smaller arrays (bytes) are copied in any case: a few labels that a program collects should not hold megabytes.
_LEAST_HELD = 65_536
#: Segments that a program may hold: a program that collects batches would otherwise use up its file descriptors.
_MOST_HELD = 64
#: Seconds before another try to share memory with a sink: a message may have come too late once.
_RETRY_S = 60.0


class Borrowing:
    """Memory of the sink that one subscription reads from."""

    def __init__(self, *, copies: bool = True) -> None:
        """Start without a sink. Without `copies`, large fields are read-only arrays over the shared memory itself."""
        self._copies = copies
        #: Maps the sink's segments; messages are decoded with it.
        self.attachments = Attachments(releases=False, holds=not copies, most=_SEGMENTS if copies else _SEGMENTS // 2)
        #: Whether the sink that answered last has memory that this process can open.
        self.shares = False
        #: A segment of that sink's, and of the last sink that had one; when to try to open it (monotonic s); how many
        #: references failed so far.
        self._memory: Reference | None = None
        self._token = ""
        self._try_at, self._failures = 0.0, 0
        self._buffers = Buffers()

    def forget(self) -> None:
        """Use no shared memory until a sink answers."""
        self.shares, self._memory = False, None

    def meet(self, memory: Reference | None, now: float) -> None:
        """Handle the segment that the sink names; a new one is tried at once."""
        self._memory, self.shares = memory, False
        if memory and memory.token != self._token:
            self._token, self._try_at = memory.token, now
        self.attempt(now)

    def attempt(self, now: float) -> None:
        """Find out now and then whether this process can open the sink's memory; the next credit says so."""
        if self.shares or now < self._try_at or self._memory is None:
            return
        try:
            self.attachments.lend(self._memory)
        except RemoteProtocolError:  # another host, container or user: bytes are as good, only slower
            self._try_at = now + _RETRY_S
        else:
            self.shares = True

    def failed(self, references: int, now: float) -> None:
        """Handle the number of references that have failed so far: those batches come again as bytes."""
        if references > self._failures:
            self._failures = references
            self.shares, self._try_at = False, now + _RETRY_S

    def own(self, message: Batch, arrays: Sequence[Array], plan: StreamPlan) -> list[dict[str, Array]]:
        """Return the fields of each batch of a message, in memory that is the program's for as long as it keeps them.

        Raises RemoteProtocolError if shared memory was written again before it was copied or held, as may happen to a
        program that was stopped for so long that the sink gave it up: then it must subscribe again.
        """
        _check(message, plan)
        loans = [loan for array in arrays if (loan := loan_of(array))]
        if not self._copies and self.attachments.lent <= _MOST_HELD and all(loan.hold() for loan in loans):
            pieces = _by_name(message, arrays)
            batches = [
                {name: self._lent(parts, part.rows) for name, parts in pieces.items()} for part in message.parts()
            ]
        else:
            fields = self._join(_by_name(message, arrays))
            batches = [{name: array[part.rows] for name, array in fields.items()} for part in message.parts()]
        if not all(loan.intact for loan in loans):
            raise RemoteProtocolError("stale", f"batch {message.sequence} was given up by the sink before it was read")
        return batches

    def _lent(self, pieces: Sequence[Array], rows: slice) -> Array:
        """Return rows of a field that came in pieces: read-only where they lie if that is one large piece."""
        found = []
        for piece in pieces:
            if rows.start < len(piece) and rows.stop > 0:
                found.append(piece[max(rows.start, 0) : rows.stop])
            rows = slice(rows.start - len(piece), rows.stop - len(piece))
        if len(found) == 1 and found[0].nbytes >= _LEAST_HELD:
            return found[0]
        return self._buffers.join(found or [pieces[0][:0]])

    def _join(self, pieces: Mapping[str, Sequence[Array]]) -> dict[str, Array]:
        """Return whole fields, in memory that is the program's own and may be written to."""
        fields = {}
        for name, parts in pieces.items():
            if len(parts) > 1 or loan_of(parts[0]):
                fields[name] = self._buffers.join(parts)
            else:
                parts[0].flags.writeable = True  # nothing else refers to the received frame
                fields[name] = parts[0]
        return fields


def _by_name(message: Batch, arrays: Sequence[Array]) -> dict[str, list[Array]]:
    """Return the pieces of each field."""
    pieces: dict[str, list[Array]] = {}
    for frame, array in zip(message.frames, arrays, strict=True):
        pieces.setdefault(frame.name, []).append(array)
    return pieces


def _check(batch: Batch, plan: StreamPlan) -> None:
    """Raise RemoteProtocolError unless the batch's segments make up the fields of the plan's schema."""
    lengths: dict[str, int] = {}
    known = {field.name: field for field in plan.schema}
    for frame in batch.frames:
        field = known.get(frame.name)
        if field is None or (frame.dtype, frame.shape[1:]) != (field.dtype, field.shape) or not frame.shape:
            raise RemoteProtocolError("batch", f"{frame.name} {frame.dtype}{frame.shape} is not of the schema {known}")
        lengths[frame.name] = lengths.get(frame.name, 0) + frame.shape[0]
    if lengths.keys() != known.keys() or set(lengths.values()) != {sum(batch.sizes)}:
        raise RemoteProtocolError("batch", f"batch {batch.sequence}: fields of lengths {lengths}, sizes {batch.sizes}")
    if len(batch.sizes) != len(batch.stops) or any(low >= high for low, high in pairwise((batch.start, *batch.stops))):
        raise RemoteProtocolError("batch", f"batch {batch.sequence}: from {batch.start}, stops {batch.stops}")
