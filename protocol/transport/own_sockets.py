"""The default addresses of services on one machine: Unix sockets in a folder that only this user may enter.

Any user of a machine can bind a TCP port on loopback first and pose as a service, or connect to one. A folder of mode
0700 keeps other users out without keys. `local:NAME` in a setting stands for the socket NAME in that folder.
"""

import os
import re
import stat
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from penstock.protocol.errors import SpecError

#: Where ventilator, sink (for results) and sink (for trainers) listen by default.
OWN_VENTILATOR, OWN_RESULTS, OWN_TRAINERS = "local:ventilator", "local:results", "local:trainers"
#: What the standby of a ventilator at a Unix socket appends to its name (`penstock up --standby`).
STANDBY_SUFFIX = "-1"
_SCHEME = "local:"
#: What stands between two addresses: a comma with the next one's scheme behind it.
_BETWEEN = re.compile(r",(?=\s*[a-z]+:)")
#: Permissions of everyone but the owner.
_OTHERS = 0o077


def resolve(address: str) -> str:
    """Return `address` with `local:NAME` replaced by the Unix socket that it stands for.

    The folder is made if it is missing. Raises SpecError if other users could enter it.
    """
    if not address.startswith(_SCHEME):
        return address
    name = address.removeprefix(_SCHEME)
    if not name or "/" in name:
        raise SpecError(f"address {address!r}: give {_SCHEME}NAME with a plain name, such as {OWN_VENTILATOR}")
    return f"ipc://{own_folder()}/{name}"


def own_folder() -> Path:
    """Return this user's folder for sockets: below XDG_RUNTIME_DIR if that is set, otherwise /tmp/penstock-UID."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    folder = Path(runtime, "penstock") if runtime else Path(f"/tmp/penstock-{os.geteuid()}")  # noqa: S108 - TMPDIR may differ between terminals; the folder's owner is checked
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError as error:
        raise SpecError(f"cannot make {folder}, the folder for sockets: {error.strerror}; {_REMEDY}") from error
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & _OTHERS:
        raise SpecError(
            f"{folder} is no folder that this user owns and only this user may enter (mode 0700), so other users could "
            f"pose as a service there: remove it; or {_REMEDY}"
        )
    return folder


_REMEDY = "set XDG_RUNTIME_DIR to a folder of your own, or give addresses such as ipc:///path or tcp://host:port"


def resolve_each(addresses: str) -> str:
    """Return the same of one address or several, with commas between them; with the standby of this user's ventilator.

    Raises SpecError.
    """
    found = [resolve(each) for each in split(addresses)]
    if addresses == OWN_VENTILATOR and Path(f"{found[0]}{STANDBY_SUFFIX}".removeprefix("ipc://")).exists():
        found.append(f"{found[0]}{STANDBY_SUFFIX}")
    if len(set(found)) < len(found) or not all(found):
        raise SpecError(
            f"address {addresses!r}: give each ventilator's address once, with commas between them, such as "
            "tcp://one:5555,tcp://other:5555"
        )
    return ",".join(found)


def split(addresses: str) -> list[str]:
    """Return the addresses in a setting that may have several. A Unix socket's path may have commas of its own."""
    parts = _BETWEEN.split(addresses)
    return [
        each.strip() for part in parts for each in ([part] if part.lstrip().startswith("ipc:") else part.split(","))
    ]


#: A setting that takes an address: `local:NAME` is resolved when the setting is read.
Address = Annotated[str, AfterValidator(resolve)]
#: The same of one address or several: the ventilator and its standby.
Addresses = Annotated[str, AfterValidator(resolve_each)]
