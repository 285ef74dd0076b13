"""Addresses of sockets: which ones Penstock can use, which hosts can reach them, and how other hosts write them.

Nothing here opens a socket.
"""

import ipaddress
import os
import re
from collections.abc import Sequence
from contextlib import suppress

from penstock.protocol.errors import RemoteProtocolError, SpecError
from penstock.protocol.transport import unix_sockets

#: Spellings of "all addresses of this host".
_WILDCARDS = ("tcp://0.0.0.0:", "tcp://[::ffff:0.0.0.0]:", "tcp://[::]:", "tcp://*:")

#: A host's name or its IPv4 address.
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}", re.ASCII)
#: TCP's ports are below that.
_PORTS = 65_536


def check_address(address: str) -> None:
    """Raise SpecError unless `address` is one that Penstock can use."""
    scheme, _, rest = address.partition("://")
    if scheme not in ("ipc", "tcp") or not rest:
        raise SpecError(f"address {address!r}: give tcp://host:port or ipc:///path")
    port = rest.rpartition(":")[2]
    if scheme == "tcp" and not (port == "*" or (port.isascii() and port.isdecimal() and int(port) < _PORTS)):
        raise SpecError(f"address {address!r}: {port!r} is no port; give tcp://host:port, as tcp://127.0.0.1:5555")
    if scheme == "ipc" and len(os.fsencode(rest)) >= unix_sockets.PATH_BYTES:
        raise SpecError(
            f"address {address!r}: a socket's path may have {unix_sockets.PATH_BYTES - 1} bytes, this has "
            f"{len(os.fsencode(rest))}: use a shorter folder, such as one below /tmp"
        )


def check_peer_address(address: str) -> None:
    """Raise SpecError unless a socket can connect to `address`, as far as its form says; `*` is the reader's host."""
    check_address(address)
    if address.startswith("ipc://"):
        valid = "\0" not in address
    else:
        host, port = host_of(address), port_of(address)
        valid = port > 0 and (host == "*" or _HOST.fullmatch(host) is not None)
        if host.startswith("["):
            with suppress(ValueError):
                ipaddress.IPv6Address(host.strip("[]"))
                valid = port > 0 and host.endswith("]")
    if not valid:
        raise SpecError(f"address {address!r}: no socket can connect to it; give tcp://host:port or ipc:///path")


def check_sent_address(address: str) -> None:
    """Raise RemoteProtocolError for an address that a peer sent, if no socket can connect to it.

    ZeroMQ would refuse a malformed one where the socket is opened.
    """
    try:
        check_peer_address(address)
    except SpecError as error:
        raise RemoteProtocolError("address", str(error)) from error


def is_wildcard(address: str) -> bool:
    """Return whether `address` stands for all addresses of the host that binds it."""
    return address.startswith(_WILDCARDS)


def on_host(address: str, host: str) -> str:
    """Return the same port of another host."""
    return f"tcp://{host}:{port_of(address)}"


def reachable(address: str, host: str) -> str:
    """Return an address to connect to: a wildcard is replaced by `host`."""
    return on_host(address, host) if is_wildcard(address) else address


def host_of(address: str) -> str:
    """Return the host of tcp://host:port, an IPv6 address in its brackets; of ipc:// this one."""
    scheme, _, rest = address.partition("://")
    return rest.rpartition(":")[0] if scheme == "tcp" else "127.0.0.1"


def port_of(address: str) -> int:
    """Return the port of tcp://host:port; 0 if that is none, as in `*`."""
    port = address.rpartition(":")[2]
    return int(port) if port.isascii() and port.isdecimal() else 0


def is_local(address: str) -> bool:
    """Return whether only this host can reach `address`: a Unix socket, or loopback. Other names are not looked up."""
    if address.startswith("ipc://"):
        return True
    host = host_of(address).strip("[]")
    with suppress(ValueError):
        found = ipaddress.ip_address(host)
        mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
        return (mapped or found).is_loopback
    return host == "localhost"


def farthest(addresses: Sequence[str]) -> str:
    """Return the first of these addresses that other hosts reach too, or else the first."""
    return next((each for each in addresses if not is_local(each)), addresses[0])


def name_in(address: str) -> str:
    """Return the host's name in an address to connect to; empty if nothing needs to be looked up there.

    What is no name is ZeroMQ's to refuse, if it means nothing to it either.
    """
    host = host_of(address)
    if not address.startswith("tcp://") or not _HOST.fullmatch(host):
        return ""
    with suppress(ValueError):
        ipaddress.ip_address(host)
        return ""
    return host


def check_exposure(address: str, *, insecure: bool) -> None:
    """Raise SpecError if other hosts could reach a socket without keys, unless `insecure` allows it."""
    if insecure or is_local(address):
        return
    raise SpecError(
        f"refusing to listen on {address!r} without keys: any program that reaches it could read the training's "
        "images, send it others, or stop it. Either make keys with `penstock keys init DIR` and give every part "
        "`--keys DIR` (PENSTOCK_KEYS; another host gets its own folder by `penstock keys export`), or, on a network "
        "that you trust, give `--insecure` (PENSTOCK_INSECURE=true). Loopback and ipc:// need neither"
    )
