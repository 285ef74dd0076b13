"""A real Chromium before a real stack: what the tests of the dashboard share.

Owns the browser, what counts as a fault on a page, and a training program that can be paused.
"""

import shutil
import threading
from collections.abc import Generator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, sync_playwright
from streams import make_images, make_spec, make_stream, run_stack

from penstock.stack import LocalStack

NAMES = ("chromium", "chromium-browser", "google-chrome-stable")
FLAGS = (
    "--headless",
    "--no-sandbox",  # as root in a container
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
#: A name that would run a script wherever it is taken for HTML.
HOSTILE = "<img src=x onerror=window.hacked=1>.jpg"
#: Longest that anything on a page may take (ms).
DEADLINE_MS = 30_000


@pytest.fixture(scope="session")
def browser() -> Generator[Browser]:
    """Start Chromium once."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"NOT TESTED IN A BROWSER: none of {', '.join(NAMES)} is installed")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield running
        running.close()


class Faults:
    """What went wrong on a page, and whom it asked beside its own server."""

    def __init__(self, home: str) -> None:
        """Watch a page of the server at `home`."""
        self.home = urlsplit(home).netloc
        self.found: list[str] = []
        #: Its server is away for a while: requests may fail.
        self.is_away = False

    def watch(self, page: Page) -> None:
        """Listen to all that a page tells."""
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.found.append(f"error: {error}"))
        page.on("request", self._request)
        page.on("requestfailed", lambda request: self._failed(f"failed: {request.url} {request.failure}"))

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self._failed(f"console: {message.text}")

    def _failed(self, what: str) -> None:
        # A page that is closed breaks its stream of events off.
        if not self.is_away and "net::ERR_ABORTED" not in what:
            self.found.append(what)

    def _request(self, request: Request) -> None:
        url = urlsplit(request.url)
        if url.scheme != "data" and url.netloc != self.home:
            self.found.append(f"asked elsewhere: {request.url}")


class Training(threading.Thread):
    """A training program that takes its batches, unless it is paused."""

    def __init__(self, stack: LocalStack) -> None:
        """Read the stream `train`."""
        super().__init__(name="training", daemon=True)
        self._feed = stack.feed("train")
        self._goes = threading.Event()
        self._goes.set()
        self._over = threading.Event()

    def run(self) -> None:
        """Take batches at a pace that lets a test look."""
        while not self._over.is_set():
            for _ in self._feed:
                self._goes.wait()
                if self._over.is_set():
                    break

    def pause(self) -> None:
        """Take no batch until `go`."""
        self._goes.clear()

    def go(self) -> None:
        """Go on."""
        self._goes.set()

    def stop(self) -> None:
        """End."""
        self._over.set()
        self.go()
        self.join(30)
        self._feed.close()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return images of two classes; two files cannot be decoded, one with a name that is HTML."""
    folder = make_images(tmp_path_factory.mktemp("photos"), each=60)
    (folder / "cat" / HOSTILE).write_bytes(b"<!DOCTYPE html>")
    (folder / "dog" / "empty.jpg").write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def stack(photos: Path) -> Generator[LocalStack]:
    """Run two workers and a second stream that nobody reads."""
    spec = make_spec(photos, train=make_stream(), validation=make_stream(patches=1))
    with run_stack(spec, workers=2, dashboard="127.0.0.1:0") as running:
        yield running


@pytest.fixture
def training(stack: LocalStack) -> Generator[Training]:
    """Train on the stack."""
    program = Training(stack)
    program.start()
    yield program
    program.stop()


@pytest.fixture
def faults(stack: LocalStack) -> Generator[Faults]:
    """Give what was wrong on pages; in the end nothing may have been."""
    watched = Faults(stack.dashboard)
    yield watched
    assert [] == watched.found


@pytest.fixture
def context(browser: Browser) -> Generator[BrowserContext]:
    """Open a browser window with nothing remembered."""
    opened = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    opened.set_default_timeout(DEADLINE_MS)
    yield opened
    opened.close()


@pytest.fixture
def page(context: BrowserContext, faults: Faults, stack: LocalStack, training: Training) -> Page:
    """Open the dashboard of a stack that trains, and wait until it is live."""
    assert training.is_alive()
    opened = context.new_page()
    faults.watch(opened)
    opened.goto(stack.dashboard)
    opened.wait_for_selector("#link[data-state=live]")
    opened.wait_for_selector("#streams progress")
    return opened
