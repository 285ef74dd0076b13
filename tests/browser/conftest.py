"""Fixtures of the browser tests: a real Chromium, a real stack with its dashboard, and the built documentation."""

import shutil
from collections.abc import Generator
from pathlib import Path

import pytest
from browser.docs import Site, serve
from browser.watched import DEADLINE_MS, HOSTILE, Faults, Training
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from support.streams import make_images, make_spec, make_stream, run_stack

from penstock.launcher.stack import LocalStack

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


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return images of two classes; two files cannot be decoded, one with a name that is HTML."""
    folder = make_images(tmp_path_factory.mktemp("photos"), each=60)
    (folder / "cat" / HOSTILE).write_bytes(b"<!DOCTYPE html>")
    (folder / "dog" / "empty.jpg").write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def stack(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[LocalStack]:
    """Run two workers with a cache, and a second stream without a reader."""
    spec = make_spec(photos, train=make_stream(cache={"gb": 0.1}), validation=make_stream(patches=1))
    kept = {"cache": str(tmp_path_factory.mktemp("cache"))}
    with run_stack(spec, workers=2, dashboard="127.0.0.1:0", worker=kept) as running:
        yield running


@pytest.fixture(scope="session")
def site(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[Site]:
    """Build the documentation once, and serve it."""
    with serve(root, tmp_path_factory.mktemp("site")) as served:
        yield served


@pytest.fixture
def site_faults(site: Site) -> Generator[Faults]:
    """Return the faults of pages of the documentation; at the end there may be none."""
    watched = Faults(site.address)
    yield watched
    assert [] == watched.found


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
