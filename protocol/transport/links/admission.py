"""Which kinds of messages a bound socket accepts from a peer, by the role of its key. Without keys, all from all."""

from contextlib import suppress

import zmq

from penstock.protocol.errors import RemoteProtocolError
from penstock.protocol.transport.keys import Role
from penstock.protocol.transport.links.opening import Owner, Use
from penstock.protocol.wire import Kinds

#: Peers whose key is remembered, the latest heard ones: nothing is sent to others.
_KNOWN_PEERS = 16_384


class Admission:
    """The keys of one socket's peers, and what they may send."""

    def __init__(self, owner: Owner, use: Use) -> None:
        """Know no peer yet."""
        self._owner, self._use = owner, use
        #: The keys of a ROUTER's peers, the latest heard last.
        self._keys_of: dict[bytes, str] = {}

    @property
    def _guarded(self) -> bool:
        return self._use.binds and self._owner.keys is not None

    def admits(self, peer: bytes) -> bool:
        """Return whether messages may be sent to a peer that was heard: its key may be revoked by now."""
        return not self._guarded or self._role(self._keys_of.get(peer, "")) is not None

    def accepted(self, first: zmq.Frame, peer: bytes) -> Kinds:
        """Return the kinds that a message's sender may send. Raises RemoteProtocolError if its key was revoked."""
        if not self._guarded:
            return self._use.accept
        public = ""
        with suppress(zmq.ZMQError):  # without a key no handshake succeeds, so this is a message without a connection
            public = str(first.get("User-Id"))
        role = self._role(public)
        if role is None:
            raise RemoteProtocolError("key", f"key {public!r} was revoked, or is of another role")
        if self._use.kind == zmq.ROUTER:
            self._keys_of.pop(peer, None)
            self._keys_of[peer] = public
            if len(self._keys_of) > _KNOWN_PEERS:
                del self._keys_of[next(iter(self._keys_of))]
        return self._use.roles[role]

    def _role(self, public: str) -> Role | None:
        key = self._owner.keys.identify(public) if self._owner.keys else None
        return key.role if key and key.role in self._use.roles else None
