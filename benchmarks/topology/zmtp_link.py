"""A connection of a played peer to a ventilator, by ZMTP 3.0 over a Unix socket: no ZeroMQ socket, which costs more."""

import socket
import struct
import time
from collections.abc import Iterator

from penstock.protocol import wire
from penstock.protocol.messages import AnyMessage

#: What stands before a message's name in its first frame.
KIND = b"penstock/%d " % wire.PROTOCOL_VERSION
_MORE, _LONG, _COMMAND = 1, 2, 4
#: Longest wait for the ventilator's greeting (s).
_DEADLINE_S = 60.0


class Link:
    """A DEALER's connection to a ROUTER at a Unix socket, by ZMTP 3.0 without keys."""

    def __init__(self, path: str, identity: bytes) -> None:
        """Connect, and introduce this peer by its identity."""
        self.identity = identity
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(_DEADLINE_S)
        self.socket.connect(path)
        self.socket.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32))
        ready = b"\x05READY" + b"".join(
            bytes([len(name)]) + name + struct.pack(">I", len(value)) + value
            for name, value in ((b"Socket-Type", b"DEALER"), (b"Identity", identity))
        )
        self.socket.sendall(bytes([_COMMAND, len(ready)]) + ready)
        greeting = b""
        while len(greeting) < 64:  # noqa: PLR2004 - the length of ZMTP's greeting
            greeting += self.socket.recv(64 - len(greeting))
        self.socket.setblocking(False)  # noqa: FBT003
        self._received = b""

    def send(self, message: AnyMessage) -> None:
        """Send a message."""
        kind, header = wire.encode(message)
        self.send_raw(bytes(kind), bytes(header))

    def send_raw(self, kind: bytes, header: bytes) -> None:
        """Send a message of which the frames are known; wait if the ventilator does not read."""
        size = bytes([len(header)]) if len(header) < 256 else struct.pack(">Q", len(header))  # noqa: PLR2004
        flag = b"\0" if len(header) < 256 else b"\2"  # noqa: PLR2004
        data = b"".join((b"\1", bytes([len(kind)]), kind, flag, size, header))
        while data:
            try:
                data = data[self.socket.send(data) :]
            except BlockingIOError:
                time.sleep(0.0002)

    def receive(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield the messages that are here: kind and header."""
        try:
            data = self._received + self.socket.recv(1 << 20)
        except BlockingIOError:
            return
        at, kind = 0, None
        done = 0
        while len(data) >= at + 2:
            flags = data[at]
            if flags & _LONG:
                if len(data) < at + 9:
                    break
                start, size = at + 9, int.from_bytes(data[at + 1 : at + 9])
            else:
                start, size = at + 2, data[at + 1]
            if len(data) < start + size:
                break
            at = start + size
            if flags & _COMMAND:
                done = at
            elif flags & _MORE:
                kind = data[start:at]
            elif kind is not None:
                done = at
                yield kind.removeprefix(KIND), data[start:at]
                kind = None
        self._received = data[done:]
