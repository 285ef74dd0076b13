"""The dashboard says which host's cache of decoded images cannot grow."""

import pytest
from browser.watched import DEADLINE_MS, HOSTILE
from playwright.sync_api import Page, expect
from support.streams import until

from penstock.launcher.stack import LocalStack
from penstock.observe.status_client import Onlooker

pytestmark = pytest.mark.browser

expect.set_options(timeout=DEADLINE_MS)


def test_a_cache_that_cannot_grow_is_named_with_its_host(page: Page, stack: LocalStack) -> None:
    """In red, below the workers, until it can; its reason is text, whatever a worker says."""
    expect(page.locator("#workers tbody tr")).to_have_count(2)
    expect(page.locator("#cache-stopped")).to_be_hidden()
    with Onlooker(stack.addresses.ventilator) as onlooker:
        until(lambda: all(row.stats.cache for row in onlooker.look().workers), "statistics of the caches")
        now = onlooker.look()
    told = now.model_dump(mode="json")
    for row, host in zip(told["workers"], ("a", "b"), strict=True):
        row["host"], row["stats"]["cache"]["stopped"] = host, HOSTILE
    shown = page.evaluate(
        """async (now) => {
            const { Workers } = await import("/assets/tables.js");
            new Workers(() => {}).show(now);
            const line = document.getElementById("cache-stopped");
            return [line.hidden, line.textContent, line.childElementCount];
        }""",
        told,
    )
    assert [False, f"The cache stopped growing on a ({HOSTILE}), b ({HOSTILE})", 0] == shown
    expect(page.locator("#cache-stopped")).to_be_hidden()
