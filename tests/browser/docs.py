"""The built documentation, served on loopback, and pages of a browser that are watched for faults."""

import fcntl
import shutil
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from browser.watched import DEADLINE_MS, Faults
from playwright.sync_api import Browser, Page


@dataclass(frozen=True)
class Site:
    """A site that is being served."""

    address: str
    pages: list[str]


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and logs nothing."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the base class
        """Log nothing."""


@contextmanager
def serve(root: Path, folder: Path) -> Generator[Site]:
    """Build the site as `make docs` does, and serve a copy in `folder`: processes build in one place, in turns."""
    (root / "build").mkdir(exist_ok=True)
    with (root / "build" / "site.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        built = subprocess.run(
            [sys.executable, root / ".ci" / "check_site.py"], capture_output=True, text=True, timeout=300, check=False
        )
        assert 0 == built.returncode, built.stdout + built.stderr
        shutil.copytree(root / "build" / "site", folder, dirs_exist_ok=True)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        names = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*.html"))
        yield Site(f"http://127.0.0.1:{server.server_port}/", names)
        server.shutdown()
        thread.join()


def open_page(browser: Browser, faults: Faults, width: int, scheme: str) -> Page:
    """Return an empty page of a width whose requests are watched."""
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme="dark" if scheme == "dark" else "light",
        reduced_motion="reduce",
    )
    context.set_default_timeout(DEADLINE_MS)
    page = context.new_page()
    faults.watch(page)
    return page
