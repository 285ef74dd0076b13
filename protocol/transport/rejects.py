"""Counts dropped messages and refused peers by reason, for `/healthz` and metrics, and logs them ever less often."""

from collections import Counter
from typing import Protocol

from penstock.protocol.errors import RemoteProtocolError

#: Reasons for dropping messages and refusing peers, with their meanings. Metrics count all of them from zero, so that
#: the first of a kind shows as an increase.
REASONS = {
    "version": "of another version of the protocol: not the same release everywhere",
    "kind": "of a kind that does not exist: not from a part of Penstock",
    "unexpected": "of a kind that this peer must not send here",
    "frames": "more or fewer frames than the message says",
    "header": "a header that is not valid",
    "size": "larger than it may be, or than it says",
    "unfinished": "so much of a message without its end that the sender was disconnected",
    "address": "an address of a peer that no socket can connect to",
    "key": "from a peer whose key is unknown, revoked or of another role",
    "refused": "a server did not admit this process: it uses keys and we do not, does not know ours, or is no Penstock",
    "shared": "shared memory that cannot be opened, or is not as the message describes it",
    "stale": "shared memory that has been given back since",
    "plan": "a result made by another spec",
    "lease": "a result of a task that was not leased to its sender",
    "result": "a result that does not fit its task or the schema",
    "credit": "a trainer that has consumed more than it was sent",
    "progress": "a sink that misses more than there is",
    "outcomes": "what failed of tasks or items that there are not",
    "paths": "paths of items that there are not",
    "quarantined": "the failure of an item that its task does not have",
}


class Log(Protocol):
    """Where events are written, as `runtime/log.py` has it."""

    def warning(self, event: str, **values: object) -> None: ...  # noqa: D102
    def error(self, event: str, **values: object) -> None: ...  # noqa: D102


class Rejects:
    """Counts and logs what was dropped; logs the first few of a kind, then ever fewer."""

    def __init__(self, log: Log) -> None:
        """Start at zero."""
        self.counts: Counter[str] = Counter()
        self._log = log

    def add(self, error: RemoteProtocolError, sender: str, event: str = "message dropped") -> None:
        """Count one message that was dropped, or another `event`."""
        self.counts[error.reason] += 1
        count = self.counts[error.reason]
        if count <= 5 or count & (count - 1) == 0:  # noqa: PLR2004 - then at every power of two
            self._log.warning(event, reason=error.reason, detail=str(error), sender=sender, count=count)
