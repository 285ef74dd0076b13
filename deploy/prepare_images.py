"""The one-shot service `images`: looks at the spec and the images before anything starts, or makes a small set of them.

    python prepare_images.py SPEC FOLDER [--yours]

An error in either is reported here, and nothing else starts. With `--yours`, FOLDER is the user's and
is only read; else a set of JPEG files is made there, once.
"""

import io
import json
import os
import shutil
import sys
from contextlib import redirect_stdout
from pathlib import Path

from penstock.commands.check import main as check
from penstock.demo.images import make_samples

#: Files a class that are made.
MADE = 150


def main() -> int:
    """Run; return the exit status."""
    spec, folder, yours = sys.argv[1], Path(sys.argv[2]), "--yours" in sys.argv[3:]
    if not yours and not folder.exists():
        fresh = folder.with_name("new")
        if fresh.exists():
            shutil.rmtree(fresh)
        count = sum(1 for _ in make_samples(fresh, train=MADE, held_out=0))
        (fresh / "train").rename(folder)
        shutil.rmtree(fresh)
        print(f"no DATA given: made {count} JPEG files; DATA=/path/to/images takes yours, a folder a class", flush=True)
    if problem := _unreadable(folder):
        print(f"images: {problem}", file=sys.stderr)
        return 2
    return _check(spec, folder)


def _check(spec: str, folder: Path) -> int:
    """Say what each stream of the spec comes to, in a line; return the exit status of `penstock check`."""
    told = io.StringIO()
    with redirect_stdout(told):
        status = check([spec, "--root", f"images={folder}", "--json"])
    if status:
        return status
    for stream in json.loads(told.getvalue())["streams"]:
        items, classes, batches = stream["items"], len(stream["classes"]), stream["batches_per_epoch"]
        print(f"stream {stream['stream']}: {items:,} items of {classes:,} classes, {batches:,} batches an epoch")
    return 0


def _unreadable(folder: Path) -> str:
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
