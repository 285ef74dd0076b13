"""The one-shot service `images`: checks spec and images before anything starts; without DATA it makes a set of images.

    python prepare_images.py SPEC FOLDER [--yours] [--settings FILE]

An error in either is reported here, and nothing else starts. With `--yours`, FOLDER is the user's and
is only read; else a set of JPEG files is made there, once.

FILE records DATA and SPEC of the environment. A later command that leaves one of them out is refused: typed in another
shell, `docker compose up --scale worker=4` would else continue on generated images what was begun on the user's.
"""

import argparse
import errno
import io
import json
import os
import shutil
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from penstock.commands.check import main as check
from penstock.demo.images import make_samples
from penstock.protocol.runtime import log as logs

#: Files a class that are made.
MADE = 100


def main() -> int:
    """Run; return the exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("spec")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--yours", action="store_true")
    parser.add_argument("--settings", type=Path)
    options = parser.parse_args([each for each in sys.argv[1:] if each])  # Compose gives an empty one for no --yours
    log = logs.configure("images", "info", logs.style_from(os.environ.get("PENSTOCK_LOG_STYLE")))
    say, warn = log.info, log.error
    try:
        if not options.yours and not options.folder.exists():
            count = make(options.folder)
            say(f"no DATA given: made {count} JPEG files; DATA=/path/to/images takes yours, a folder a class")
        if problem := unreadable(options.folder) or settle(options.settings):
            warn(problem)
            return 2
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        warn("no space left on the disk that holds Docker's volumes: `docker system df` shows what Docker uses")
        return 2
    return summarise(options.spec, options.folder, say)


def make(folder: Path) -> int:
    """Make a set of images; return how many. The folder appears when it is complete."""
    fresh = folder.with_name("new")
    if fresh.exists():
        shutil.rmtree(fresh)
    count = sum(1 for _ in make_samples(fresh, train=MADE, held_out=0))
    (fresh / "train").rename(folder)
    shutil.rmtree(fresh)
    return count


def summarise(spec: str, folder: Path, say: Callable[[str], Any]) -> int:
    """Say what each stream of the spec comes to, in a line; return the exit status of `penstock check`."""
    told = io.StringIO()
    with redirect_stdout(told):
        status = check([spec, "--root", f"images={folder}", "--json"])
    if status:
        return status
    for stream in json.loads(told.getvalue())["streams"]:
        items, classes, batches = stream["items"], len(stream["classes"]), stream["batches_per_epoch"]
        say(f"stream {stream['stream']}: {items:,} items of {classes:,} classes, {batches:,} batches an epoch")
    return 0


def settle(settings: Path | None) -> str:
    """Record what the stack is started with. Return why not, if this leaves out what was said before, or nothing."""
    if settings is None:
        return ""
    given = {name: os.environ.get(name, "") for name in ("DATA", "SPEC")}
    try:
        before = json.loads(settings.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        before = {}
    if left_out := {name: before[name] for name, value in given.items() if before.get(name) and not value}:
        old = " ".join(f"{name}={value}" for name, value in left_out.items())
        return (
            f"this stack was started with {old}, which this command leaves out. Repeat it with {old}, and the training "
            "goes on (a line in .env keeps that for all commands); or start over with `docker compose down --volumes`"
        )
    fresh = settings.with_name("settings.new")
    fresh.write_text(json.dumps(given), encoding="utf-8")
    fresh.replace(settings)
    return ""


def unreadable(folder: Path) -> str:
    """Return why the user's folder cannot be used, or nothing."""
    user = f"user {os.geteuid()}:{os.getegid()} of the containers"
    then = "open it to others, or say RUN_AS=$(id -u):$(id -g)"
    try:
        entries = list(folder.iterdir())
        closed = [entry.name for entry in entries if entry.is_dir() and not os.access(entry, os.R_OK | os.X_OK)]
    except PermissionError:
        return f"DATA cannot be read by {user}; {then}"
    except NotADirectoryError:
        return "DATA is a file; give the folder that holds a folder of images for each class"
    if closed:
        return f"DATA has folders that {user} cannot read, such as {closed[0]!r}; {then}"
    if not entries:
        return "DATA is an empty folder; give one with a folder of images for each class"
    return ""


if __name__ == "__main__":
    sys.exit(main())
