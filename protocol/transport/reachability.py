"""Finds this host's address towards a peer, and explains why a peer's address cannot be reached.

It looks names up and opens plain TCP connections without sending anything. That may take seconds: never call it from a
loop that answers heartbeats.
"""

import socket
from contextlib import suppress
from pathlib import Path

from penstock.protocol.transport.addresses import host_of, is_local, is_wildcard, on_host, port_of
from penstock.protocol.transport.links.names import not_found

#: Longest (s) that one connection may take when it is found out whether an address can be reached.
_PATIENCE_S = 3.0
#: Of TCP port 9, discard: no packet is sent, the kernel only chooses the way.
_ANY_PORT = 9


def own_address(towards: str) -> str:
    """Return this host's own address on the way to a peer's (tcp://…), as it stands in one. Raises OSError."""
    family, _, _, _, target = socket.getaddrinfo(
        host_of(towards).strip("[]"), port_of(towards) or _ANY_PORT, type=socket.SOCK_DGRAM
    )[0]
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect(target)
        found: str = probe.getsockname()[0]
    return f"[{found}]" if family == socket.AF_INET6 else found


def advertised(bound: str, ventilator: str, name: str) -> str:
    """Return the address of what is `bound` here for workers.

    A wildcard becomes the address by which this host reaches the ventilator; a ventilator on this very host is reached
    by each worker in its own way, so that it stays a wildcard, which each fills in. `name`, this host's name, is used
    if there is no better address.
    """
    if not is_wildcard(bound):
        return bound
    if is_local(ventilator):
        return on_host(bound, "*")
    try:
        return on_host(bound, own_address(ventilator))
    except OSError:
        return on_host(bound, name)


def why_unreachable(address: str) -> str:
    """Explain why no process answers at an address, as far as this host can find out."""
    if address.startswith("ipc://"):
        path = Path(address.removeprefix("ipc://"))
        return "its socket is there" if path.exists() else "no such socket on this host: is the sink on another one?"
    host, port = host_of(address).strip("[]"), port_of(address)
    elsewhere = "; that is this host itself: say `--advertise tcp://HOST:PORT` to the sink" if is_local(address) else ""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        return f"{not_found(host, error)}: say `--advertise tcp://ADDRESS:{port}` to the sink"
    words = "no address"
    for family, kind, protocol, _, target in found:
        with socket.socket(family, kind, protocol) as probe, suppress(OSError):
            probe.settimeout(_PATIENCE_S)
            try:
                probe.connect(target)
            except TimeoutError:
                words = f"no answer within {_PATIENCE_S:.0f} s: is a firewall in between, or is the line cut?"
            except OSError as error:
                words = f"{error.strerror or error}{elsewhere}"
            else:
                return "something accepts connections there, but does not speak with us: look at keys and MTU"
    return words
