"""Instructions of the cores to their shells. Frozen records; the cores themselves touch no socket and no log."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from penstock.protocol.messages import AnyMessage
from penstock.protocol.wire import Array


@dataclass(frozen=True, slots=True)
class Send:
    """Send a message to a peer (its routing identity)."""

    peer: bytes
    message: AnyMessage
    arrays: Sequence[Array] = ()


@dataclass(frozen=True, slots=True)
class Reopen:
    """Close the link to a peer, dropping what is queued, and open it again under a fresh identity."""

    peer: bytes


@dataclass(frozen=True, slots=True)
class Failed:
    """This service cannot go on; `reason` explains why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Note:
    """Something worth a log line and a counter; `event` is a short constant phrase."""

    event: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    level: str = "info"


Instruction = Send | Reopen | Failed | Note
