"""What a page in the browser does wrong, and a training program that can be paused. Owns no fixture."""

import math
import re
import threading
from urllib.parse import urlsplit

from playwright.sync_api import ConsoleMessage, Page, Request
from support.streams import until

from penstock.launcher.stack import LocalStack
from penstock.protocol.messages import Snapshot

#: A name that would run a script wherever it is taken for HTML.
HOSTILE = "<img src=x onerror=window.hacked=1>.jpg"
#: Longest that anything on a page may take (ms).
DEADLINE_MS = 60_000


def until_true(page: Page, expression: str, argument: object = None) -> None:
    """Ask a page until an expression is true, or a function of `argument` returns what is.

    Playwright's own `wait_for_function` fails now and then on a page whose Content Security Policy forbids `eval`: what
    exempts it is lifted when another evaluation interleaves (microsoft/playwright, 36982).
    """
    until(lambda: page.evaluate(expression, argument), expression, DEADLINE_MS / 1000)


def cache_line(now: Snapshot) -> re.Pattern[str]:
    """Return what the page says of the cache that both workers share: hits, what they saved, and its size."""
    caches = [worker.stats.cache for worker in now.workers if worker.stats.cache]
    hits, asked = sum(cache.hits for cache in caches), sum(cache.hits + cache.misses for cache in caches)
    share = 100 * hits / max(asked, 1)
    percent = f"({share:.0f}|{math.floor(share + 0.5)})" if asked else "–"
    return re.compile(rf"^Cache: {percent}%? hits · \S+ \w+ of decoding saved · \S+ [kM]?B of 100 MB$")


class Faults:
    """What went wrong on a page, and which other servers than its own it asked."""

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
        self.join(DEADLINE_MS / 1000)
        self._feed.close()
