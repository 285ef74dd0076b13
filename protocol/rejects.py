"""What was dropped or refused: counted by reason for `/healthz`, logged ever less often. Knows no sockets."""

from collections import Counter

import structlog

from penstock.protocol.errors import RemoteProtocolError


class Rejects:
    """Counts and logs what was dropped; logs the first few of a kind, then ever fewer."""

    def __init__(self, log: structlog.typing.FilteringBoundLogger) -> None:
        """Start at zero."""
        self.counts: Counter[str] = Counter()
        self._log = log

    def add(self, error: RemoteProtocolError, sender: str, event: str = "message dropped") -> None:
        """Count one message that was dropped, or another `event`."""
        self.counts[error.reason] += 1
        count = self.counts[error.reason]
        if count <= 5 or count & (count - 1) == 0:  # noqa: PLR2004 - then at every power of two
            self._log.warning(event, reason=error.reason, detail=str(error), sender=sender, count=count)
