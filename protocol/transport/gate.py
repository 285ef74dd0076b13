"""Decides which keys may connect: answers libzmq for every connection of a guarded socket (ZAP, RFC 27)."""

from typing import Any

import zmq
from zmq.utils import z85

from penstock.protocol.errors import RemoteProtocolError
from penstock.protocol.transport.keys import KeyRing
from penstock.protocol.transport.rejects import Rejects

#: Connections that are admitted or refused before the messages get their turn.
_ADMISSIONS = 64


class Gate:
    """Answers for all guarded sockets of one context."""

    def __init__(self, context: "zmq.Context[Any]", keys: KeyRing, rejects: Rejects) -> None:
        """Open the gate; libzmq looks for it when the first guarded socket is bound."""
        self._keys, self._rejects = keys, rejects
        self.socket: Any = context.socket(zmq.REP)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.bind("inproc://zeromq.zap.01")

    def answer(self) -> None:
        """Admit or refuse the connections that wait: a key's role must be one that the socket asks for."""
        for _ in range(_ADMISSIONS):
            try:
                version, request, domain, address, _identity, mechanism, *credentials = self.socket.recv_multipart(
                    zmq.NOBLOCK
                )
            except zmq.Again:
                return
            public = z85.encode(credentials[0]).decode() if mechanism == b"CURVE" else ""
            key = self._keys.identify(public)
            if key and key.role in domain.decode().split():
                answer = [b"200", b"OK", public.encode()]
            else:
                answer = [b"400", b"no access", b""]
                whose = f"key {key.name!r} is a {key.role}'s" if key else f"unknown key {public!r}"
                error = RemoteProtocolError("key", f"{whose}: only {domain.decode()} may connect")
                self._rejects.add(error, address.decode(), "not let in")
            self.socket.send_multipart([version, request, *answer, b""])

    def close(self) -> None:
        """Close it; call this after the sockets that it guards are closed."""
        self.socket.close()
