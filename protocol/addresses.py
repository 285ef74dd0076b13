"""Addresses of sockets: which ones Penstock can use, who can reach them, and how others spell them.

Knows no sockets: nothing here opens anything.
"""

import ipaddress
import os
from contextlib import suppress

from penstock.protocol import unix
from penstock.protocol.errors import SpecError


def check_address(address: str) -> None:
    """Raise SpecError unless `address` is one that Penstock can use."""
    scheme, _, rest = address.partition("://")
    if scheme not in ("ipc", "tcp") or not rest:
        raise SpecError(f"address {address!r}: give tcp://host:port or ipc:///path")
    if scheme == "ipc" and len(os.fsencode(rest)) >= unix.PATH_BYTES:
        raise SpecError(
            f"address {address!r}: a socket's path may have {unix.PATH_BYTES - 1} bytes, this has "
            f"{len(os.fsencode(rest))}: use a shorter folder, such as one below /tmp"
        )


def reachable(address: str, host: str) -> str:
    """Return an address that others can connect to: a wildcard is replaced by `host`."""
    for wildcard in ("tcp://0.0.0.0:", "tcp://[::ffff:0.0.0.0]:", "tcp://[::]:", "tcp://*:"):
        if address.startswith(wildcard):
            return f"tcp://{host}:{address.removeprefix(wildcard)}"
    return address


def is_local(address: str) -> bool:
    """Return whether only this host can reach `address`: a Unix socket, or loopback. Other names are not looked up."""
    scheme, _, rest = address.partition("://")
    if scheme == "ipc":
        return True
    host = rest.rpartition(":")[0].strip("[]")
    with suppress(ValueError):
        found = ipaddress.ip_address(host)
        mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
        return (mapped or found).is_loopback
    return host == "localhost"


def check_exposure(address: str, *, insecure: bool) -> None:
    """Raise SpecError if others than this host could reach a socket without keys, and nobody said that they may."""
    if insecure or is_local(address):
        return
    raise SpecError(
        f"refusing to listen on {address!r} without keys: whoever reaches it could take the training's images, feed it "
        "others, or stop it. Either make keys with `penstock keys init DIR` and give every part `--keys DIR` "
        "(PENSTOCK_KEYS; another host gets its own folder by `penstock keys export`), or, on a network where everybody "
        "is trusted, say `--insecure` (PENSTOCK_INSECURE=true). Loopback and ipc:// need neither"
    )
