"""The dashboards of two ventilators in Chromium: who acts, and whether another one would take over."""

from pathlib import Path

import pytest
from browser.watched import DEADLINE_MS
from playwright.sync_api import BrowserContext, expect
from support.streams import make_spec, run_stack, until

pytestmark = pytest.mark.browser

expect.set_options(timeout=DEADLINE_MS)


def test_the_page_says_whether_a_standby_would_take_over(context: BrowserContext, photos: Path, tmp_path: Path) -> None:
    """In a line of its own, and in the colour of alarm once there is none; each ventilator has a page."""
    with run_stack(make_spec(photos), 1, dashboard="127.0.0.1:0", run_dir=tmp_path / "run", standby=True) as stack:
        names = ("ventilator", "ventilator-1")
        [first] = until(lambda: [n for n in names if stack.status()[n].get("acting")], "one to act")
        page = context.new_page()
        page.goto(stack.dashboards[names.index(first)])
        line = page.locator("#standby")
        expect(line).to_contain_text("acts, term")
        expect(line).to_contain_text("on standby: ")
        expect(line).to_have_attribute("data-alarming", "false")
        [other] = {*names} - {first}
        second = context.new_page()
        second.goto(stack.dashboards[names.index(other)])
        expect(second.locator("#verdict-sentence")).to_contain_text("This ventilator is on standby; ventilator ")
        expect(second.locator("#standby")).to_be_empty()
        stack.children[first].given_up = True
        stack.children[first].process.kill()
        expect(second.locator("#standby")).to_contain_text("none is on standby, so that no other takes over if it ends")
        expect(second.locator("#standby")).to_have_attribute("data-alarming", "true")
