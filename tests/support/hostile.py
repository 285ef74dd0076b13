"""Hostile peers: messages that are wrong in every way, connections without number, and a tap that records real traffic.

Owns raw ZeroMQ and TCP sockets, as an attacker would. Knows the protocol only to break it.
"""

import json
import random
import socket
import threading
from types import TracebackType
from typing import Any, Self

import zmq
from zmq.utils.monitor import recv_monitor_message

from penstock.protocol import messages, wire
from penstock.protocol.records import Record

Frames = list[bytes]

#: What a socket sees of a victim that does not let it in.
_FAILED = (
    zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_DISCONNECTED
)

#: What one attacker sends with each seed, besides every kind of attack at least once.
VOLLEY = 40


def volley(rng: random.Random, valid: list[Frames]) -> list[Frames]:
    """Return messages that every socket must drop: noise, and damaged versions of `valid` ones."""
    attacks = [*_ATTACKS, *rng.choices(_ATTACKS, k=VOLLEY)]
    rng.shuffle(attacks)
    return [attack(rng, rng.choice(valid)) for attack in attacks]


def message(content: messages.AnyMessage, *payload: bytes) -> Frames:
    """Return a message's frames, with `payload` in place of its arrays: the claims may lie."""
    header = json.dumps(content.to_dict()) if isinstance(content, Record) else content.model_dump_json()
    return [_kind(type(content).__name__), header.encode(), *payload]


def _kind(name: str, version: object = wire.PROTOCOL_VERSION) -> bytes:
    return f"penstock/{version} {name}".encode()


def _noise(rng: random.Random, _: Frames) -> Frames:
    return [rng.randbytes(rng.randrange(0, 200)) for _ in range(rng.randrange(1, 6))]


def _one_frame(_: random.Random, valid: Frames) -> Frames:
    return valid[:1]


def _many_frames(_: random.Random, valid: Frames) -> Frames:
    return [*valid, *[b""] * wire.MAX_FRAMES]


def _extra_frame(_: random.Random, valid: Frames) -> Frames:
    return [*valid, b"more"]


def _other_version(rng: random.Random, valid: Frames) -> Frames:
    own = f"/{wire.PROTOCOL_VERSION} ".encode()
    assert own in valid[0], valid[0]
    return [valid[0].replace(own, f"/{rng.choice([0, 1, 99, ''])} ".encode()), *valid[1:]]


def _unknown_kind(_: random.Random, valid: Frames) -> Frames:
    return [_kind("Obey"), *valid[1:]]


def _no_json(rng: random.Random, valid: Frames) -> Frames:
    return [
        valid[0],
        rng.choice([b"", b"{", b"[]", b"null", b"\xff\xfe{}", b"[" * 50_000, b'{"a":' * 50_000]),
        *valid[2:],
    ]


def _unknown_field(_: random.Random, valid: Frames) -> Frames:
    return [valid[0], json.dumps({**json.loads(valid[1]), "admin": True}).encode(), *valid[2:]]


def _wrong_type(rng: random.Random, valid: Frames) -> Frames:
    header = {**json.loads(valid[1]), "": 0}
    header[rng.choice(list(header))] = rng.choice([None, -1, 2**70, 1e400, "x" * 5000, [[]], {"a": 1}])
    return [valid[0], json.dumps(header).encode(), *valid[2:]]


def _oversized_header(_: random.Random, valid: Frames) -> Frames:
    kind = getattr(messages, valid[0].partition(b" ")[2].decode())
    return [valid[0], valid[1] + b" " * wire.header_limit(kind), *valid[2:]]


_ATTACKS = [
    *[_noise, _one_frame, _many_frames, _extra_frame, _other_version, _unknown_kind, _no_json, _unknown_field] * 3,
    *[_wrong_type] * 3,
    _oversized_header,
]


class Attacker:
    """A raw socket that is connected to a victim."""

    def __init__(self, kind: int, address: str, curve: tuple[str, str, str] | None = None) -> None:
        """Connect; sending waits for room, for a minute at most.

        `curve` is the attacker's public key, its secret key and what it believes to be the victim's public key.
        """
        self._context = zmq.Context()
        self.socket = self._context.socket(kind)
        if curve:
            options = (zmq.CURVE_PUBLICKEY, zmq.CURVE_SECRETKEY, zmq.CURVE_SERVERKEY)
            for option, value in zip(options, curve, strict=True):
                self.socket.setsockopt(option, value.encode())
        self._monitor = self.socket.get_monitor_socket(_FAILED | zmq.EVENT_HANDSHAKE_SUCCEEDED)
        self.socket.setsockopt(zmq.SNDTIMEO, 60_000)
        self.socket.setsockopt(zmq.LINGER, 5_000)
        self.socket.connect(address)

    def __enter__(self) -> Self:
        """Return the attacker."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let what was sent leave; hang up."""
        self.socket.disable_monitor()
        self._context.destroy(linger=None if error is None else 0)

    def gets_in(self) -> bool:
        """Wait until the victim has let this attacker in or refused it; return which."""
        if not self._monitor.poll(60_000):
            raise AssertionError("neither let in nor refused")
        return bool(recv_monitor_message(self._monitor)["event"] == zmq.EVENT_HANDSHAKE_SUCCEEDED)

    def send(self, attacks: list[Frames]) -> None:
        """Send all of them."""
        for frames in attacks:
            self.socket.send_multipart(frames)


def flood(address: tuple[str, int], connections: int, rng: random.Random) -> list[socket.socket]:
    """Open connections that say nothing, or nonsense; return them, open."""
    sockets = []
    for number in range(connections):
        each = socket.create_connection(address, timeout=60)
        if number % 2:
            each.send(rng.randbytes(64))
        sockets.append(each)
    return sockets


class Tap:
    """A man in the middle of a link: passes on all that comes, records it, and slips in what it is given."""

    def __init__(self, front: int, back: int, listen: str, victim: str) -> None:
        """Listen as a socket of kind `front`; for every peer connect one of kind `back` to the victim."""
        self._front, self._back, self._victim = front, back, victim
        self._context = zmq.Context()
        self._socket = self._context.socket(front)
        self._socket.bind(listen)
        #: What peers sent to the victim, and what the victim sent back.
        self.forward: list[Frames] = []
        self.backward: list[Frames] = []
        #: Chance that a message is followed by an older one of the same link and direction.
        self.replay = 0.0
        self._rng = random.Random(1)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        """Start."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        backs: dict[bytes, Any] = {}
        history: dict[tuple[bytes, bool], list[Frames]] = {}
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)

        def again(peer: bytes, *, forward: bool, frames: Frames) -> list[Frames]:
            past = history.setdefault((peer, forward), [])
            past.append(frames)
            (self.forward if forward else self.backward).append(frames)
            return [frames, self._rng.choice(past)] if self._rng.random() < self.replay else [frames]

        while not self._stop.is_set():
            ready = dict(poller.poll(50))
            if self._socket in ready:
                frames = self._socket.recv_multipart()
                peer = frames.pop(0) if self._front == zmq.ROUTER else b""
                if peer not in backs:
                    backs[peer] = self._context.socket(self._back)
                    backs[peer].connect(self._victim)
                    poller.register(backs[peer], zmq.POLLIN)
                for each in again(peer, forward=True, frames=frames):
                    backs[peer].send_multipart(each)
            for peer, back in backs.items():
                if back in ready:
                    for each in again(peer, forward=False, frames=back.recv_multipart()):
                        self._socket.send_multipart([peer, *each])
        self._context.destroy(linger=0)
