"""The built documentation in a browser: every page loads from its own host only, without errors, and fits a phone."""

import pytest
from browser.docs import Site, open_page
from browser.watched import Faults
from playwright.sync_api import Browser

pytestmark = pytest.mark.browser


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_every_page_asks_its_own_host_only_and_fits(
    browser: Browser, site: Site, site_faults: Faults, width: int, scheme: str
) -> None:
    """All is loaded, pictures too; nothing sticks out to the side but what scrolls in its own frame."""
    page = open_page(browser, site_faults, width, scheme)
    for name in site.pages:
        page.goto(site.address + name)
        assert (name, 0) == (name, max(0, page.evaluate("document.documentElement.scrollWidth - innerWidth")))
        broken = "[...document.images].filter(each => !each.naturalWidth).map(each => each.src)"
        assert (name, []) == (name, page.evaluate(broken))
        lightness = page.evaluate("getComputedStyle(document.body).colorScheme + document.body.dataset.mdColorScheme")
        assert (name, scheme == "dark") == (name, "slate" in lightness)
    page.context.close()


def test_the_search_finds_a_page_without_asking_anybody(browser: Browser, site: Site, site_faults: Faults) -> None:
    """The index is a file of the site."""
    page = open_page(browser, site_faults, 1280, "light")
    page.goto(site.address + "index.html", wait_until="networkidle")
    page.locator("input[placeholder=Search]").wait_for(state="attached")
    page.keyboard.press("Control+k")
    page.locator("input:focus").wait_for()
    page.keyboard.type("quarantine ledger")
    page.wait_for_selector("a[href*='.html']:visible >> text=/quarantine/i")
    page.context.close()
