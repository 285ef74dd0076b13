"""The one-shot service `keys`: makes a stack's keys once, and gives each part a folder with what it needs, and no more.

    python share_keys.py FOLDER [penstock keys' own arguments ...]

`FOLDER/all/stack` is the whole key folder. For each role, `FOLDER/<role>/stack` is what `penstock keys export` makes of
it; each lies in a volume of its own, so that a worker's container never sees the secret key of the sink. With further
arguments (`add trainer-2`, `revoke worker-7`, `list`), `penstock keys` runs with them first. Running it again brings
the folders up to date, and running services heed that within a second.

Without further arguments it also makes the dashboard's token, `FOLDER/ventilator/dashboard-token`, and prints the
page's address with it, for those who may read the engine's logs.
"""

import os
import shutil
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from penstock.commands.keys import main as keys
from penstock.protocol.errors import SpecError
from penstock.protocol.runtime import log as logs
from penstock.protocol.transport.keys import ROLES
from penstock.ventilator.dashboard.access import page_url, read_token

#: The key folder within its volume: the volume's own folder belongs to the engine.
STACK = "stack"


def main() -> int:
    """Run; return the exit status. A full disk, or a volume that cannot be written, is one line."""
    try:
        return _share_all()
    except OSError as error:
        print(f"keys: cannot write its volumes: {error}: `docker system df` shows what Docker uses", file=sys.stderr)
        return 1


def _share_all() -> int:
    folder, arguments = Path(sys.argv[1]), sys.argv[2:]
    everything = folder / "all" / STACK
    os.environ["PENSTOCK_KEYS"] = str(everything)
    say = logs.configure("keys", "info", logs.style_from(os.environ.get("PENSTOCK_LOG_STYLE"))).info
    if not everything.exists():
        fresh = _cleared(everything.with_name("new"))
        if status := _quietly(["init", str(fresh)]):
            return status
        fresh.rename(everything)
        say(f"made keys for {', '.join(ROLES)}: every socket is encrypted, and admits only peers with a key")
    if arguments and (status := keys(arguments)):
        return status
    for role in ROLES:
        if status := _share(role, folder / role / STACK):
            return status
    return 0 if arguments else _show_dashboard(folder / "ventilator" / "dashboard-token", say)


def _show_dashboard(token_file: Path, say: Callable[[str], Any]) -> int:
    """Print where this machine's browsers find the page; return the exit status."""
    try:
        token = read_token(token_file)
    except SpecError as error:
        print(error, file=sys.stderr)
        return 1
    port = int(os.environ.get("DASHBOARD_PORT", "5550"))
    say(f"dashboard: {page_url(f'127.0.0.1:{port}', port, token)}")
    return 0


def _quietly(arguments: list[str]) -> int:
    """Run `penstock keys` without its advice, which is for people; errors stay."""
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
        return keys(arguments)


def _share(role: str, target: Path) -> int:
    """Make `target` what an export of the role's key gives; return the exit status."""
    fresh = _cleared(target.with_name("new"))
    if status := _quietly(["export", role, str(fresh)]):
        return status
    if not target.exists():
        fresh.rename(target)
        return 0
    for half in ("public", "secret"):
        wanted = {path.name for path in (fresh / half).iterdir()}
        for name in wanted:
            (fresh / half / name).replace(target / half / name)
        for path in (target / half).iterdir():
            if path.name not in wanted:
                path.unlink()
    _cleared(fresh)
    return 0


def _cleared(folder: Path) -> Path:
    """Return a folder's name with nothing there: a run that was killed may have left something."""
    if folder.exists():
        shutil.rmtree(folder)
    return folder


if __name__ == "__main__":
    sys.exit(main())
