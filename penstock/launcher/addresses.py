"""Addresses of the services of a stack on this machine, and ports for them."""

import random
import socket
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Self

from penstock.protocol.errors import SpecError, StackError
from penstock.protocol.transport.addresses import host_of, port_of

#: The ventilator on standby listens this many ports above the other one, and so does its page.
STANDBY_PORTS = 10
#: A stack's sinks stand this many ports apart: each has one for results and one for trainers.
_PORTS = 2


@dataclass(frozen=True, slots=True)
class Addresses:
    """Addresses of the services of a stack."""

    ventilator: str
    results: str
    trainers: str

    @classmethod
    def in_folder(cls, folder: Path) -> Self:
        """Return Unix sockets in a folder."""
        return cls(*(f"ipc://{folder}/{name}.sock" for name in ("ventilator", "results", "trainers")))

    @property
    def is_one_host(self) -> bool:
        """Whether only workers of this host can join: the ventilator listens at a Unix socket."""
        return self.ventilator.startswith("ipc://")

    @property
    def standby(self) -> str:
        """The address of a second ventilator: ten ports higher, or a Unix socket with a number. Raises SpecError."""
        if self.is_one_host:
            return _numbered(self.ventilator, 1)
        if not port_of(self.ventilator):
            raise SpecError(f"address {self.ventilator!r} with a standby: give a port, such as 5555")
        return _on_port(self.ventilator, port_of(self.ventilator) + STANDBY_PORTS)

    def of_sink(self, number: int) -> Self:
        """Return the addresses with those of one of several sinks; number 0 has those that were given.

        Over TCP, each sink's ports are two above those of the one before; a Unix socket's name gets the number. Raises
        SpecError for a port that is not fixed.
        """
        return replace(self, results=_numbered(self.results, number), trainers=_numbered(self.trainers, number))

    def of_all(self, sinks: int, *, standby: bool = False) -> list[str]:
        """Return every address of a stack with so many sinks, and perhaps a second ventilator. Raises SpecError."""
        each = [address for number in range(sinks) for address in astuple(self.of_sink(number))]
        each += [self.standby] if standby else []
        return list(dict.fromkeys(each))


class HeldPorts:
    """Free ports of this host, drawn at random and held: no other draw finds them until this is closed.

    A socket is bound to each, but does not listen, and lets others bind there that allow it for themselves: services
    do (ZeroMQ sets SO_REUSEADDR, of socket(7)), while a draw does not. So the ports stay ours until a service that we
    start listens there, and while it starts again.
    """

    def __init__(self, count: int, among: Sequence[int], advice: str = "") -> None:
        """Draw so many. Raises StackError, with the advice, if there are fewer."""
        self._sockets: list[socket.socket] = []
        for port in random.SystemRandom().sample(among, len(among)):
            if len(self._sockets) == count:
                break
            self._try(port)
        if len(self._sockets) < count:
            self.close()
            raise StackError(f"no {count} ports from {among[0]} to {among[-1]} are free on this host{advice}")

    def __enter__(self) -> Self:
        """Return this."""
        return self

    def __exit__(self, *_: object) -> None:
        """Give the ports back."""
        self.close()

    @property
    def numbers(self) -> list[int]:
        """The ports."""
        return [each.getsockname()[1] for each in self._sockets]

    def close(self) -> None:
        """Give the ports back; the service that listens at one keeps it."""
        for each in self._sockets:
            each.close()

    def _try(self, port: int) -> None:
        held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            held.bind(("", port))
        except OSError:
            held.close()
            return
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._sockets.append(held)


def _numbered(address: str, number: int) -> str:
    if number == 0:
        return address
    if address.startswith("ipc://"):
        path = Path(address.removeprefix("ipc://"))
        return f"ipc://{path.with_name(f'{path.stem}-{number}{path.suffix}')}"
    if not port_of(address):
        raise SpecError(
            f"address {address!r} with several sinks: give a port, such as {_on_port(address, 5556)!r}; each further "
            f"sink then listens {_PORTS} ports higher"
        )
    return _on_port(address, port_of(address) + _PORTS * number)


def _on_port(address: str, port: int) -> str:
    """Return another port of the same host."""
    return f"tcp://{host_of(address)}:{port}"
