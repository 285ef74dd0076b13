"""Keys and roles: reads a key folder, finds the party that a key belongs to, and decides whether it may connect.

A key folder (mode 0700) has `public/NAME.toml` for each party that the stack admits, and `secret/NAME.toml` for each
that its owner can act as (files 0600). A service's allow-list is `public/`, read again when it changes; a host that
only runs workers needs the public halves of the ventilator and the sink, and a worker's secret. The files are plain
text. The gate asks this module about every connection, and endpoints about every message.

The same content in one file, a bundle, is what engines such as Docker Swarm and Kubernetes hand to containers as a
secret: its tables are `[public.NAME]` and `[secret.NAME]`. It may belong to root, be readable for its group and be
reached through a link, as these engines place it.
"""

import os
import re
import stat
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeGuard, get_args

from penstock.protocol.errors import SpecError

Role = Literal["ventilator", "sink", "worker", "trainer"]
ROLES: tuple[Role, ...] = get_args(Role)
#: Roles that others connect to: a stack has one key of each, and every party has its public half.
SERVERS: tuple[Role, ...] = ("ventilator", "sink")

#: Form of a key's name, which is also the name of its file.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
#: A key of 32 bytes as Z85 (ZeroMQ's RFC 32).
_Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_KEY_LETTERS, _GROUP = 40, 5
#: A key's file is far smaller (bytes); so is a bundle of thousands of keys.
_MOST_BYTES, _MOST_BUNDLE_BYTES = 4096, 1 << 20
#: How often (s) a running service looks whether its folder has changed.
LOOK_S = 0.25


@dataclass(frozen=True, slots=True)
class Key:
    """One party's key, in Z85; the secret half where it is ours."""

    name: str
    role: Role
    public: str
    secret: str = field(default="", repr=False)


def is_role(value: object) -> TypeGuard[Role]:
    """Return whether `value` is a role."""
    return value in ROLES


def is_key(value: object) -> TypeGuard[str]:
    """Return whether `value` is a key in Z85: five letters stand for 32 bits each."""
    if not isinstance(value, str) or len(value) != _KEY_LETTERS or not set(value) <= set(_Z85):
        return False
    groups = (value[start : start + _GROUP] for start in range(0, _KEY_LETTERS, _GROUP))
    return all(
        sum(_Z85.index(letter) * 85 ** (4 - place) for place, letter in enumerate(group)) < 2**32 for group in groups
    )


def check_name(name: str) -> None:
    """Raise SpecError unless a key may be called `name`."""
    if not _NAME.fullmatch(name):
        raise SpecError(f"key name {name!r}: give 1 to 64 letters, digits, dots, dashes or underscores, as in worker-7")


def check_folder(path: Path) -> None:
    """Raise SpecError unless `path` is a folder of this user's own that no other user can read or write."""
    try:
        status = path.lstat()
    except OSError as error:
        raise SpecError(
            f"keys {str(path)!r}: {error.strerror}; make a key folder by `penstock keys init DIR`, or get one for this "
            "host by `penstock keys export`"
        ) from error
    if not stat.S_ISDIR(status.st_mode):
        raise SpecError(f"keys {str(path)!r}: that is no folder; give the one that `penstock keys init` has made")
    _check_owner(path, status, "700")


def read_key(path: Path, *, secret: bool) -> Key:
    """Return the key in a file of `public/` or `secret/`. Raises SpecError that names the file and what to do."""
    return _as_key(str(path), path.stem, _parse(path, _read(path)), secret=secret)


def _as_key(path: str, name: str, found: object, *, secret: bool) -> Key:
    """Return the key that a table holds. Raises SpecError."""
    check_name(name)
    table: dict[str, Any] = found if isinstance(found, dict) else {}
    wanted = {"role", "public", "secret"} if secret else {"role", "public"}
    role, public = table.get("role"), table.get("public")
    if set(table) != wanted or not is_role(role) or not is_key(public) or (secret and not is_key(table["secret"])):
        raise SpecError(
            f"{path}: not a key: it must have {', '.join(sorted(wanted))}; the role is one of {', '.join(ROLES)}, keys "
            "are 40 letters of Z85. Make it again: `penstock keys revoke`, then `penstock keys add`"
        )
    return Key(name, role, public, table["secret"] if secret else "")


def key_files(folder: Path) -> Iterator[Path]:
    """Yield the files of keys in `public/` or `secret/`, by name; none where that folder is missing."""
    if folder.exists():
        check_folder(folder)
        yield from sorted(path for path in folder.iterdir() if path.suffix == ".toml")


class KeyRing:
    """A key folder or bundle as one part uses it: its own key, those of the services, and the keys that may connect."""

    def __init__(self, folder: str | Path, role: Role) -> None:
        """Read it. Raises SpecError if a mode, an owner or a key is wrong, or if `role` has no secret key in it."""
        self.folder, self.role = Path(folder), role
        self._by_public, problems = _read_public(self.folder)
        if problems:
            raise SpecError(problems[0])
        self.own = _own(self.folder, role)
        self._servers = {server: _server(self.folder, self._by_public, server) for server in SERVERS}
        self._seen = _look(self.folder)
        self._looked_at = 0.0

    def __repr__(self) -> str:
        """Show whose it is; never a key."""
        return f"<KeyRing of {self.own.name} ({self.role}) in {self.folder}>"

    def server(self, role: Role) -> str:
        """Return the public key that proves a peer to be the stack's ventilator or sink."""
        return self._servers[role]

    def identify(self, public: str) -> Key | None:
        """Return the key with this public half; None if it is unknown or was revoked."""
        return self._by_public.get(public)

    def refresh(self, now: float) -> list[str]:
        """Read the folder again if it has changed; return descriptions of what is wrong with it.

        A running service does not stop for a wrong file but leaves that key out; without its folder it admits no peer.
        """
        if now - self._looked_at < LOOK_S:
            return []
        self._looked_at = now
        seen = _look(self.folder)
        if seen == self._seen:
            return []
        self._seen = seen
        try:
            self._by_public, problems = _read_public(self.folder)
        except (SpecError, OSError) as error:
            self._by_public, problems = {}, [f"{error}: no peer is admitted until then"]
        return problems


def open_keys(folder: str | Path, role: Role) -> KeyRing | None:
    """Return the key ring of a folder, or None if none was given. Raises SpecError."""
    return KeyRing(folder, role) if str(folder) else None


def given_keys(keys: str | Path | None) -> str:
    """Return the key folder that a program gave, or PENSTOCK_KEYS where it gave None; empty: no keys."""
    return os.environ.get("PENSTOCK_KEYS", "") if keys is None else str(keys)


def _read_half(folder: Path, half: str) -> tuple[list[tuple[str, Key]], list[str]]:
    """Return the public or the secret keys with the places where they stand, and what is wrong with others.

    Raises SpecError for a bundle with any fault.
    """
    secret = half == "secret"
    if folder.is_file():
        tables = _parse(folder, _read_bundle(folder)).get(half, {})
        items = tables.items() if isinstance(tables, dict) else [(half, tables)]
        places = [(f"{folder}: [{half}.{name}]", name, found) for name, found in items]
        return [(place, _as_key(place, name, found, secret=secret)) for place, name, found in places], []
    check_folder(folder)
    keys, problems = [], []
    for path in key_files(folder / half):
        try:
            keys.append((str(path), read_key(path, secret=secret)))
        except SpecError as error:
            problems.append(str(error))
    return keys, problems


def _read_public(folder: Path) -> tuple[dict[str, Key], list[str]]:
    found: dict[str, Key] = {}
    doubled: set[str] = set()
    keys, problems = _read_half(folder, "public")
    for place, key in keys:
        if key.public in found:
            doubled.add(key.public)
            problems.append(f"{place}: the same key as {found[key.public].name!r}: remove one of the two")
        found[key.public] = key
    return {public: key for public, key in found.items() if public not in doubled}, problems


def _own(folder: Path, role: Role) -> Key:
    found, problems = _read_half(folder, "secret")
    if problems:
        raise SpecError(problems[0])
    keys = [key for _, key in found]
    own = [key for key in keys if key.role == role]
    if len(own) > 1:  # the one that init has made
        own = [key for key in own if key.name == role]
    if len(own) != 1:
        known = ", ".join(f"{key.name} ({key.role})" for key in keys) or "none"
        raise SpecError(
            f"keys {str(folder)!r}: need one secret key of role {role!r}, there are: {known}; make a folder with just "
            f"one by `penstock keys add NAME --role {role}` and `penstock keys export NAME FOLDER`"
        )
    return own[0]


def _server(folder: Path, known: dict[str, Key], role: Role) -> str:
    keys = [key.public for key in known.values() if key.role == role]
    if len(keys) != 1:
        raise SpecError(
            f"keys {str(folder)!r}: need one public key of role {role!r}, there are {len(keys)} in public/: "
            "`penstock keys init` makes it, `penstock keys export` copies it"
        )
    return keys[0]


def _look(folder: Path) -> tuple[tuple[Any, ...], ...]:
    """Return a value that changes whenever a file of the allow-list does."""
    try:
        if folder.is_file():
            status = folder.stat()
            return ((status.st_ino, status.st_ctime_ns, status.st_mode, status.st_size),)
        public = folder / "public"
        entries = [(entry.name, entry.stat(follow_symlinks=False)) for entry in os.scandir(public)]
        entries += [("", folder.lstat()), ("public", public.lstat())]
    except OSError as error:
        return ((str(error),),)
    return tuple(
        sorted((name, status.st_ino, status.st_ctime_ns, status.st_mode, status.st_size) for name, status in entries)
    )


def _read(path: Path) -> str:
    """Return a file's text, of the very file that was checked: no link is followed."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise SpecError(f"{path}: {error.strerror}; a key is a plain file of yours, no link") from error
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MOST_BYTES:
            raise SpecError(f"{path}: not the file of a key; remove it")
        _check_owner(path, status, "600")
        return file.read(_MOST_BYTES).decode("ascii", "replace")


def _read_bundle(path: Path) -> str:
    """Return a bundle's text, of the very file that was checked."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise SpecError(f"{path}: {error.strerror}; the user who runs the service must be able to read it") from error
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MOST_BUNDLE_BYTES:
            raise SpecError(f"{path}: not a bundle of keys; make one by `penstock keys export NAME FILE --bundle`")
        if status.st_uid not in (0, os.geteuid()):
            raise SpecError(f"{path} belongs to user {status.st_uid}: give it to root or to the user of the service")
        if status.st_mode & 0o027:
            raise SpecError(
                f"{path} has mode {stat.S_IMODE(status.st_mode):04o}: others could use it; give it 0400, or 0440 where "
                "its group is the service's (defaultMode in Kubernetes, mode in a Swarm stack)"
            )
        return file.read(_MOST_BUNDLE_BYTES).decode("ascii", "replace")


def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"{path}: not valid TOML: {error}") from error


def _check_owner(path: Path, status: os.stat_result, mode: str) -> None:
    if status.st_uid != os.geteuid():
        raise SpecError(
            f"{path} belongs to user {status.st_uid}, this process runs as {os.geteuid()}: its owner could "
            f"replace it; give it to the user who runs the service (chown)"
        )
    if status.st_mode & 0o077:
        raise SpecError(
            f"{path} has mode {stat.S_IMODE(status.st_mode):04o}: others on this machine could use it; "
            f"chmod {mode} {path}, and if it was so for long, make new keys"
        )
