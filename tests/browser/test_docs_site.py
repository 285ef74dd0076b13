"""The built documentation in a browser: it asks nobody but its own host, says no error, and fits a phone."""

import subprocess
import sys
import threading
from collections.abc import Generator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from browser.watched import DEADLINE_MS, Faults
from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and logs nothing."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as it is called there
        """Log nothing."""


@pytest.fixture(scope="module")
def site(root: Path) -> Generator[tuple[str, list[str]]]:
    """Build the site as `make docs` does and serve it; return its address and its pages."""
    built = subprocess.run(
        [sys.executable, root / ".ci" / "check_site.py"], capture_output=True, text=True, timeout=300, check=False
    )
    assert 0 == built.returncode, built.stdout + built.stderr
    folder = root / "build" / "site"
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        names = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*.html"))
        yield f"http://127.0.0.1:{server.server_port}/", names
        server.shutdown()
        thread.join()


@pytest.fixture
def faults(site: tuple[str, list[str]]) -> Generator[Faults]:
    """Give what was wrong on pages; in the end nothing may have been."""
    watched = Faults(site[0])
    yield watched
    assert [] == watched.found


def open_page(browser: Browser, faults: Faults, width: int, scheme: str) -> Page:
    """Return an empty page of a width whose requests are watched."""
    dark = scheme == "dark"
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light", reduced_motion="reduce"
    )
    context.set_default_timeout(DEADLINE_MS)
    page = context.new_page()
    faults.watch(page)
    return page


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_every_page_asks_its_own_host_only_and_fits(
    browser: Browser, site: tuple[str, list[str]], faults: Faults, width: int, scheme: str
) -> None:
    """All is loaded, pictures too; nothing sticks out to the side but what scrolls in its own frame."""
    page = open_page(browser, faults, width, scheme)
    address, names = site
    for name in names:
        page.goto(address + name)
        assert (name, 0) == (name, max(0, page.evaluate("document.documentElement.scrollWidth - innerWidth")))
        broken = "[...document.images].filter(each => !each.naturalWidth).map(each => each.src)"
        assert (name, []) == (name, page.evaluate(broken))
        lightness = page.evaluate("getComputedStyle(document.body).colorScheme + document.body.dataset.mdColorScheme")
        assert (name, scheme == "dark") == (name, "slate" in lightness)
    page.context.close()


def test_the_search_finds_a_page_without_asking_anybody(
    browser: Browser, site: tuple[str, list[str]], faults: Faults
) -> None:
    """The index is a file of the site."""
    page = open_page(browser, faults, 1280, "light")
    page.goto(site[0] + "index.html", wait_until="networkidle")
    page.locator("input[placeholder=Search]").wait_for(state="attached")
    page.keyboard.press("Control+k")
    page.locator("input:focus").wait_for()
    page.keyboard.type("quarantine ledger")
    page.wait_for_selector("a[href*='.html']:visible >> text=/quarantine/i")
    page.context.close()
