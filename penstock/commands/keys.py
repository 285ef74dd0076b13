"""`penstock keys`: creates, lists, exports and revokes the keys of a stack.

Writes key folders; `protocol/transport/keys.py` defines their contents and permissions. A file gets its name only when
it is complete and has mode 0600.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic_settings import CliPositionalArg

from penstock.protocol.errors import OutputError, SpecError
from penstock.protocol.runtime.printable import say
from penstock.protocol.runtime.service import run
from penstock.protocol.runtime.settings import Settings
from penstock.protocol.transport.keys import (
    ROLES,
    SERVERS,
    Key,
    Role,
    check_folder,
    check_name,
    is_role,
    key_files,
    read_key,
)
from penstock.protocol.transport.sockets import new_key_pair

_USAGE = """usage: penstock keys <command> [options]

  init DIR                  create a key folder with keys of the ventilator, the sink, a worker and a trainer
  add NAME [--role ROLE]    create one more key, such as worker-7 or trainer-2
  revoke NAME               revoke a key; running services refuse it within a second
  list                      print names, roles and public keys
  export NAME DIR           copy one key, and the public ones it needs, into a new folder for another host;
                            with --bundle into one file, for the secrets of Docker Swarm or Kubernetes

All but init take --keys DIR or PENSTOCK_KEYS; default: ./keys."""


class InitSettings(Settings):
    """Creates a key folder with one key for each role."""

    folder: CliPositionalArg[str]
    """Path of the folder to create."""


class FolderSettings(Settings):
    """Works on a key folder."""

    keys: str = "keys"
    """Path of the key folder."""


class NameSettings(FolderSettings):
    """Works on one key."""

    name: CliPositionalArg[str]
    """Name of the key."""


class AddSettings(NameSettings):
    """Makes one more key."""

    role: Role | None = None
    """Role of the key's owner; default: from the name (trainer-2), else worker."""


class ExportSettings(NameSettings):
    """Copies one key, and the public keys that it needs, into a new folder."""

    target: CliPositionalArg[str]
    """Folder to make; copy it to the other host."""
    bundle: bool = False
    """Write one file instead, for the secrets of Docker Swarm or Kubernetes; --keys takes its path as well."""


def init(settings: InitSettings) -> int:
    """Make a folder; refuse one that is there."""
    folder = Path(settings.folder)
    _make_folder(folder)
    for role in ROLES:
        _make_key(folder, role, role)
    say(f"{folder}: keys of {', '.join(ROLES)}; give every service and trainer --keys {folder}, and keep it secret")
    return 0


def add(settings: AddSettings) -> int:
    """Make one more key."""
    folder, name = Path(settings.keys), settings.name
    check_folder(folder)
    check_name(name)
    guess = name.partition("-")[0]
    role: Role = settings.role or (guess if is_role(guess) else "worker")
    for key in _public(folder):
        if key.name == name:
            raise SpecError(f"there is a key {name!r} already, a {key.role}'s: give another name, or revoke it first")
        if key.role == role and role in SERVERS:
            raise SpecError(f"there is a {role}'s key already, {key.name!r}, which all peers know: revoke it first")
    _make_key(folder, name, role)
    say(f"{name}: a {role}'s key; for another host: penstock keys export {name} DIR")
    return 0


def revoke(settings: NameSettings) -> int:
    """Forget a key."""
    folder, name = Path(settings.keys), settings.name
    check_folder(folder)
    check_name(name)
    if not (folder / "public" / f"{name}.toml").exists():
        known = ", ".join(key.name for key in _public(folder)) or "none"
        raise SpecError(f"no key {name!r} in {folder}; there are: {known}")
    for half in ("public", "secret"):
        file = folder / half / f"{name}.toml"
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"cannot remove {file}: {error.strerror}; run this as the folder's owner") from error
    say(f"{name}: revoked; services that read {folder} no longer accept it; revoke it in copies of the folder, too")
    return 0


def listing(settings: FolderSettings) -> int:
    """Print all keys; never a secret half."""
    folder = Path(settings.keys)
    check_folder(folder)
    own = {path.stem for path in key_files(folder / "secret")}
    for key in _public(folder):
        say(f"{key.name:<24}{key.role:<12}{key.public}{'' if key.name in own else '  (secret half not here)'}")
    return 0


def export(settings: ExportSettings) -> int:
    """Copy one key and the public keys of the services: all that another host needs, and no more."""
    folder, target = Path(settings.keys), Path(settings.target)
    check_folder(folder)
    check_name(settings.name)
    secret = read_key(folder / "secret" / f"{settings.name}.toml", secret=True)
    if secret.role in SERVERS:  # it decides which peers get in
        wanted = _public(folder)
    else:
        wanted = [key for key in _public(folder) if key.role in SERVERS or key.name == secret.name]
    if settings.bundle:
        _write_bundle(target, wanted, secret)
        say(f"{target}: {secret.name}, a {secret.role}'s key; give the file to the engine as a secret")
        return 0
    _make_folder(target)
    for key in wanted:
        _write(target / "public", key)
    _write(target / "secret", secret)
    say(f"{target}: {secret.name}, a {secret.role}'s key; move the folder to where it is used, by scp or the like")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `penstock keys`."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    rest = given[1:]
    match given[:1]:
        case ["init"]:
            return run(InitSettings, init, "keys init", rest)
        case ["add"]:
            return run(AddSettings, add, "keys add", rest)
        case ["revoke"]:
            return run(NameSettings, revoke, "keys revoke", rest)
        case ["list"]:
            return run(FolderSettings, listing, "keys list", rest)
        case ["export"]:
            return run(ExportSettings, export, "keys export", rest)
        case ["-h" | "--help" | "help"]:
            print(_USAGE)
            return 0
        case _:
            print(_USAGE, file=sys.stderr)
            return 2


def _public(folder: Path) -> list[Key]:
    return [read_key(path, secret=False) for path in key_files(folder / "public")]


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True)
        for half in ("public", "secret"):
            (folder / half).mkdir(mode=0o700)
    except FileExistsError:
        raise SpecError(f"{folder} is there already: give a folder that is not, or `penstock keys add` to it") from None
    except OSError as error:
        raise SpecError(f"cannot make {folder}: {error.strerror}; give a folder that you may write to") from error


def _make_key(folder: Path, name: str, role: Role) -> None:
    public, secret = new_key_pair()
    key = Key(name, role, public, secret)
    _write(folder / "secret", key)
    _write(folder / "public", Key(name, role, public))


def _write(folder: Path, key: Key) -> None:
    """Write one key's file; it appears under its name when it is complete. Raises OutputError."""
    try:
        _write_file(folder, key)
    except OSError as error:  # the disk is full, or the folder is not ours
        raise OutputError(
            f"cannot write the key {key.name} into {folder}: {error.strerror}; make room there, "
            "or run this as the folder's owner, and again"
        ) from error


def _write_file(folder: Path, key: Key) -> None:
    fresh = folder / f".{key.name}.new"
    fresh.unlink(missing_ok=True)
    _write_new(fresh, _lines(key))
    fresh.rename(folder / f"{key.name}.toml")


def _write_bundle(path: Path, public: Sequence[Key], secret: Key) -> None:
    """Write keys as one file, which must not be there. Raises OutputError."""
    lines = []
    for half, keys in (("public", public), ("secret", [secret])):
        for key in keys:
            lines += [f'[{half}."{key.name}"]', *_lines(key), ""]
    try:
        _write_new(path, lines[:-1])
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}; give the path of a new file") from error


def _lines(key: Key) -> list[str]:
    return [f'role = "{key.role}"', f'public = "{key.public}"', *([f'secret = "{key.secret}"'] if key.secret else [])]


def _write_new(path: Path, lines: Sequence[str]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write("\n".join(lines) + "\n")
        file.flush()
        os.fsync(descriptor)


if __name__ == "__main__":
    sys.exit(main())
