"""The options of ZeroMQ sockets: limits and timeouts, by kind and use; and the events that are watched."""

import zmq

from penstock.protocol import wire

#: Messages queued for one peer that does not read: a last resort, credit and slots are far lower.
HIGH_WATER = 1000
#: Results queued for the sink by one worker: with that many on their way, the worker waits.
_PUSH_HIGH_WATER = 4
#: Messages of one peer that wait to be read, by the kind of a bound socket; further ones wait at the peer. Of results,
#: more than a worker sends ahead; of both, far fewer than would fill the memory.
_READ_HIGH_WATER: dict[int, int] = {zmq.PULL: 64, zmq.ROUTER: 16}
#: Largest frame (bytes) that is received where arrays come. A peer that sends a larger one is disconnected.
MAX_ARRAY_BYTES = 1 << 30
#: Bytes that a worker may have sent of an unfinished result before the sink knows its streams.
_RESULT_BACKLOG_BYTES = 256_000_000
#: Bytes of a message besides its largest frame, where no arrays come.
_SMALL_FRAMES_BYTES = 64_000
#: How the kernel notices a half-open link, which is all that sockets have which only send or only receive: a link that
#: is idle for so long (s) is probed, in such intervals (s), and is dead after so many probes without an answer. Probes
#: also keep the link's entry in NATs and firewalls alive.
_PROBE_AFTER_S, _PROBE_EVERY_S, _PROBES = 10, 2, 3
#: Longest that sent bytes may wait for the peer's kernel to take them (ms).
_UNACKNOWLEDGED_MS = 10_000
#: Longest that a connection may take for its handshake (ms): a peer that drips bytes is disconnected, a slow line tries
#: again.
_HANDSHAKE_MS = 5_000
#: Longest that a connection may take to open (ms). The kernel's own tries go on for two minutes at ever longer
#: intervals, so that a cut of half a minute would last for one minute.
_CONNECT_MS = 3_000
#: Pause before a connection is tried again, and the longest (ms): it doubles with each try, and some chance is added.
_AGAIN_MS, _LONGEST_AGAIN_MS = 100, 1_000
#: The same on Unix sockets without keys: a stack's first batch waits for its services to find each other. A process
#: that waits for a server takes 0.6 % of a core by that (over TCP 0.1 %).
_LOCAL_AGAIN_MS, _LONGEST_LOCAL_AGAIN_MS = 10, 20
#: Events of failed handshakes, and what they mean.
REFUSALS: dict[int, str] = {
    zmq.EVENT_HANDSHAKE_FAILED_AUTH: "it does not admit our key: unknown, revoked, or of another role",
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL: "it uses no keys, and we do: give it --keys",
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL: "it hung up: it uses keys and we do not, or it is not the one we have a key "
    "of, or it is leaving",
}
#: The events that tell a client whether it has a link to its server.
LINKS = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED
#: The events that name the descriptor of a new connection.
OPENED = zmq.EVENT_ACCEPTED | zmq.EVENT_CONNECTED


def takes_arrays(kind: int, server: str | None) -> bool:
    """Return whether messages to a socket carry arrays: to a PULL, and to a DEALER of the sink."""
    return kind == zmq.PULL or (kind == zmq.DEALER and server == "sink")


def options(kind: int, server: str | None, accept: wire.Kinds) -> dict[int, int]:
    """Return a socket's options; `server` is the role it connects to, None for one that is bound.

    Never with ZMTP's own heartbeats: libzmq 4.3.5 ends the process (`!_io_error`) when it is to send one on a
    connection that broke while its queue of received messages was full.
    """
    found: dict[int, int] = {
        zmq.LINGER: 0,
        zmq.MAXMSGSIZE: frame_limit(kind, server, accept),
        zmq.SNDHWM: _PUSH_HIGH_WATER if kind == zmq.PUSH else HIGH_WATER,
        zmq.RCVHWM: _READ_HIGH_WATER.get(kind, HIGH_WATER),
        zmq.IPV6: 1,
        zmq.TCP_KEEPALIVE: 1,
        zmq.TCP_KEEPALIVE_IDLE: _PROBE_AFTER_S,
        zmq.TCP_KEEPALIVE_INTVL: _PROBE_EVERY_S,
        zmq.TCP_KEEPALIVE_CNT: _PROBES,
        zmq.TCP_MAXRT: _UNACKNOWLEDGED_MS,
        zmq.HANDSHAKE_IVL: _HANDSHAKE_MS,
        zmq.CONNECT_TIMEOUT: _CONNECT_MS,
        zmq.RECONNECT_IVL: _AGAIN_MS,
        zmq.RECONNECT_IVL_MAX: _LONGEST_AGAIN_MS,
    }
    if kind == zmq.ROUTER:
        found[zmq.ROUTER_MANDATORY] = 1
    if kind == zmq.PUSH:
        found[zmq.IMMEDIATE] = 1  # queue only for a sink that is there
    return found


def retries(address: str) -> dict[int, int]:
    """Return the options of a socket without keys that depend on its address: how soon a connection is tried again.

    With keys it is slow on Unix sockets too: a peer that is refused costs both sides a handshake each time.
    """
    if not address.startswith("ipc://"):
        return {}
    return {zmq.RECONNECT_IVL: _LOCAL_AGAIN_MS, zmq.RECONNECT_IVL_MAX: _LONGEST_LOCAL_AGAIN_MS}


def frame_limit(kind: int, server: str | None, accept: wire.Kinds) -> int:
    """Return the largest frame (bytes) that a socket may receive: an array, or a little more than the largest header.

    So a header that is a little too large is counted and logged, where a larger one ends its connection. A PUSH accepts
    no message, but the commands of the handshake count too.
    """
    if takes_arrays(kind, server):
        return MAX_ARRAY_BYTES
    return max(map(wire.header_limit, accept), default=0) + _SMALL_FRAMES_BYTES


def message_limit(kind: int, server: str | None, accept: wire.Kinds) -> int:
    """Return the largest message (bytes): a few arrays of the largest size, or a header with its small frames."""
    if takes_arrays(kind, server):
        return 4 * MAX_ARRAY_BYTES
    return frame_limit(kind, server, accept) + _SMALL_FRAMES_BYTES


def backlog_limit(kind: int, server: str | None, accept: wire.Kinds) -> int:
    """Return how many bytes one connection may have sent of a message that is not complete."""
    if takes_arrays(kind, server):
        return _RESULT_BACKLOG_BYTES if kind == zmq.PULL else MAX_ARRAY_BYTES
    return unfinished_limit(message_limit(kind, server, accept))


def unfinished_limit(largest_bytes: int) -> int:
    """Return the same where the largest message has so many bytes: a little more, for headers and encryption.

    No more than a little: of the smallest frames, libzmq's memory is 32 times their bytes.
    """
    return largest_bytes * 5 // 4 + 1_000_000
