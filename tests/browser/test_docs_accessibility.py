"""The built documentation for keyboards, screen readers and phones: axe-core finds no violation on any page."""

import io
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser.docs import Site, open_page
from browser.watched import Faults
from PIL import Image
from playwright.sync_api import Browser

pytestmark = pytest.mark.browser

#: The rules of this version of axe-core are checked; npm installs it into a temporary folder.
AXE = "axe-core@4.14.1"
#: Seconds that npm may take.
INSTALL_LIMIT_S = 300
#: Least height (px) of letters in the topology picture on a phone.
LEGIBLE_PX = 11
_RUN = """axe.run().then(found => found.violations.map(
    each => `${each.id}: ${each.help}: ${each.nodes.map(node => node.target.join(" ")).join(", ")}`))"""


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the source of axe-core."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("NOT TESTED FOR ACCESSIBILITY: npm, which installs axe-core, is not installed")
    folder = tmp_path_factory.mktemp("axe")
    command = [npm, "install", "--prefix", str(folder), "--ignore-scripts", "--no-audit", "--no-fund", AXE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_LIMIT_S, check=False)
    assert 0 == done.returncode, done.stderr
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


@pytest.mark.parametrize("part", range(3))
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_no_page_violates_a_rule_of_axe(
    browser: Browser, site: Site, site_faults: Faults, axe: str, *, width: int, scheme: str, part: int
) -> None:
    """Contrast, names, landmarks, headings and focus are right on a phone and on a desktop, in light and in dark."""
    page = open_page(browser, site_faults, width, scheme)
    for name in site.pages[part::3]:
        page.goto(site.address + name)
        page.evaluate(axe)
        assert (name, []) == (name, page.evaluate(_RUN))
    page.context.close()


def test_a_keyboard_reaches_the_content_the_navigation_and_wide_tables(
    browser: Browser, site: Site, site_faults: Faults
) -> None:
    """The first Tab offers to skip the navigation; links and tables that scroll sideways get the focus in turn."""
    page = open_page(browser, site_faults, 390, "light")
    page.goto(f"{site.address}spec.html")
    page.wait_for_selector(".md-typeset__scrollwrap[tabindex='0']")
    page.keyboard.press("Tab")
    assert "Skip to content" == page.evaluate("document.activeElement.textContent.trim()")
    page.keyboard.press("Enter")
    assert page.url.partition("#")[2]
    reached: list[Any] = []
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.className"))
    assert any("md-typeset__scrollwrap" in name for name in reached), reached
    page.set_viewport_size({"width": 1280, "height": 900})
    page.goto(f"{site.address}index.html")
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.href || ''").endswith("/first_feed.html"):
            break
    page.keyboard.press("Enter")
    page.wait_for_url("**/first_feed.html")
    page.context.close()


def test_the_contents_of_the_longest_page_are_not_cut_off(browser: Browser, site: Site, site_faults: Faults) -> None:
    """Every heading of the spec's reference can be read in the contents."""
    page = open_page(browser, site_faults, 1280, "light")
    page.goto(f"{site.address}spec.html")
    entries = "[...document.querySelectorAll('.md-nav--secondary .md-nav__link .md-ellipsis')]"
    assert page.evaluate(f"{entries}.length") > 10
    cut = page.evaluate(
        f"{entries}.filter(each => each.scrollWidth > each.clientWidth + 1).map(each => each.innerText)"
    )
    assert [] == cut
    page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_topology_picture_suits_a_phone_and_the_scheme(
    browser: Browser, site: Site, site_faults: Faults, root: Path, scheme: str
) -> None:
    """Its letters are large enough at 390 pixels, its ground is dark where the page is, and it names no sockets."""
    page = open_page(browser, site_faults, 390, scheme)
    page.goto(f"{site.address}index.html")
    picture = page.locator("img[src*=topology]")
    scale = picture.evaluate("each => each.clientWidth / each.naturalWidth")
    text = (root / "docs" / "topology.svg").read_text(encoding="utf-8")
    assert 'font-size="16"' in text
    assert scale * 16 >= LEGIBLE_PX
    levels = np.asarray(Image.open(io.BytesIO(picture.screenshot())).convert("L"))
    assert (scheme == "dark") == (np.median(levels) < 128)  # most of the picture is its ground
    assert not [word for word in ("ROUTER", "DEALER", "PUSH", "PULL") if word in text + page.inner_text("body")]
    page.context.close()
