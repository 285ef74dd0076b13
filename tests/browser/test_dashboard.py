"""The dashboard in Chromium: it shows what the ventilator knows, notices losses, and is easy to read and use."""

import os
import re
import signal
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from browser.watched import DEADLINE_MS, HOSTILE, Faults, Training, cache_line, until_true
from playwright.sync_api import Browser, BrowserContext, Page, expect
from support.streams import make_spec, run_stack, until

from penstock.launcher.stack import LocalStack
from penstock.observe.status_client import Onlooker
from penstock.protocol.messages import Snapshot

pytestmark = pytest.mark.browser

expect.set_options(timeout=DEADLINE_MS)


def look(stack: LocalStack) -> Snapshot:
    """Return what the ventilator answers to who asks it directly."""
    with Onlooker(stack.addresses.ventilator) as onlooker:
        return onlooker.look(ledger=200)


def text(page: Page, selector: str) -> str:
    """Return what an element says."""
    return " ".join(page.inner_text(selector).split())


def cells(page: Page, table: str) -> list[list[str]]:
    """Return what stands in a table's body."""
    rows = page.locator(f"{table} tbody tr")
    return [[" ".join(cell.split()) for cell in row.locator("th, td").all_inner_texts()] for row in rows.all()]


def standing_still(stack: LocalStack) -> Snapshot | None:
    """Return how it goes once all is full: the trainer was served, and nothing has moved since long enough."""
    now = look(stack)
    is_full = any(trainer.stats.batches and not trainer.stats.starved for trainer in now.trainers)
    still = (2, 1) == (len(now.workers), len(now.trainers)) and now.flow.delivered == now.flow.made == 0
    return now if is_full and still and "trainer-bound" == now.verdict.word else None


def test_the_page_shows_what_the_ventilator_knows(page: Page, stack: LocalStack, training: Training) -> None:
    """While the training stands still, all numbers do: each one equals the ventilator's own."""
    training.pause()
    now = until(lambda: standing_still(stack), "the pipeline to stand still")
    assert now
    [trainer] = now.trainers
    done = trainer.stats.epoch.delivered + trainer.stats.epoch.quarantined + trainer.stats.epoch.dropped
    expect(page.locator("#figure-delivered")).to_have_text("0")
    expect(page.locator("#figure-workers")).to_have_text("2")
    expect(page.locator("#verdict-word")).to_have_text(re.compile(now.verdict.word, re.IGNORECASE))
    train, validation = cells(page, "#streams")
    epoch = f"{trainer.stats.epoch.epoch + 1} {done:,} of {trainer.stats.epoch.expected:,}"
    assert ["train", epoch, "0"] == train[:3]
    assert f"{trainer.stats.in_flight} batches" == train[4]
    assert validation[1].startswith("no trainer reads it · 122 items, 122 samples")
    assert {worker.name for worker in now.workers} == {row[0] for row in cells(page, "#workers")}
    failures = {worker.name: f"{worker.stats.failures:,}" for worker in now.workers}
    assert failures == {row[0]: row[5] for row in cells(page, "#workers")}
    held = sum(stream.sink.held for stream in now.streams if stream.sink)
    expect(page.locator("[data-node=sink]")).to_contain_text(f"{held:,} held")
    assert now.sink
    files = sum(sum(stream.sink.quarantined_items.values()) for stream in now.streams if stream.sink)
    assert text(page, "#ledger-count").startswith(f"{files:,} file{'s' * (files != 1)} ·")
    expect(page.locator("#cache")).to_have_text(cache_line(now))
    drawn = page.locator("#chart-rate svg")
    expect(drawn).to_have_attribute("aria-label", re.compile("delivered: now 0, mean"))
    training.go()
    expect(page.locator("#figure-delivered")).not_to_have_text("0")


def test_a_killed_worker_goes_and_comes_back(page: Page, stack: LocalStack) -> None:
    """Its row disappears, the count falls, and its successor stands there under a name of its own."""
    victim = stack.children["worker-0"].process.pid
    rows = page.locator("#workers tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.filter(has_text=f"/{victim}")).to_have_count(1)
    before = {row[0] for row in cells(page, "#workers")}
    [name] = [each for each in before if each.endswith(f"/{victim}")]
    os.kill(victim, signal.SIGKILL)
    expect(page.locator("#workers tbody")).not_to_contain_text(name)
    expect(rows).to_have_count(2)
    [fresh] = {row[0] for row in cells(page, "#workers")} - before
    assert fresh.endswith(f"/{stack.children['worker-0'].process.pid}")
    expect(page.locator("#figure-lost")).to_contain_text("gone")


def test_failed_files_are_listed_and_a_name_that_is_html_stays_text(page: Page) -> None:
    """With reason; no element is made of it, and no script runs."""
    expect(page.locator("#ledger tbody tr")).to_have_count(2)
    rows = dict(cells(page, "#ledger"))
    assert "not an image of a known format" in rows[f"cat/{HOSTILE}"]
    assert "the file is empty" in rows["dog/empty.jpg"]
    assert 0 == page.locator("#ledger img").count()
    assert page.evaluate("window.hacked") is None


def test_samples_are_shown_with_their_labels_and_refresh(page: Page) -> None:
    """Real pictures of the stream that is read; other ones after a while; a stream without a reader has none."""
    images = page.locator("#samples img")
    page.locator("#samples-title").scroll_into_view_if_needed()
    images.first.wait_for()
    until_true(page, "() => [...document.querySelectorAll('#samples img')].every(image => image.naturalWidth)")
    assert {"cat", "dog"} >= {label.partition(",")[0] for label in images.evaluate_all("all => all.map(i => i.alt)")}
    names = images.evaluate_all("all => all.map(i => i.title)")
    assert all(re.fullmatch(r"(cat|dog)/\d{4}\.jpg, position \d+", name) for name in names), names
    first = images.first.get_attribute("src") or ""
    expect(images.first).not_to_have_attribute("src", first)
    page.get_by_role("button", name="validation").click()
    expect(page.locator("#samples-none")).to_contain_text("No trainer reads this stream")
    expect(page.get_by_role("button", name="validation")).to_have_attribute("aria-pressed", "true")


def test_light_and_dark_follow_the_system_until_somebody_chooses(page: Page) -> None:
    """And the choice outlives a reload."""

    def background() -> str:
        return str(page.evaluate("getComputedStyle(document.documentElement).backgroundColor"))

    light = background()
    page.emulate_media(color_scheme="dark")
    toggle = page.get_by_role("button", name="Dark")
    expect(toggle).to_have_attribute("aria-pressed", "true")
    assert light != background()
    toggle.click()
    assert light == background()
    page.reload()
    page.wait_for_selector("#link[data-state=live]")
    assert light == background()
    expect(toggle).to_have_attribute("aria-pressed", "false")


def test_everything_can_be_reached_and_used_by_keyboard(page: Page) -> None:
    """Each stop of the Tab key is visible; the buttons act; a sorted column says so."""
    stops = []
    for _ in range(13):
        page.keyboard.press("Tab")
        stops.append(page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()"))
        assert "none" != page.evaluate("getComputedStyle(document.activeElement).outlineStyle"), stops[-1]
    assert ["Skip to the verdict", "pause", "theme"] == stops[:3]
    assert {"Worker", "Samples/s", "Busy", "Tasks", "Now", "Failed", "train", "validation"} <= set(stops)
    dark = page.get_by_role("button", name="Dark")
    dark.focus()
    page.keyboard.press("Enter")
    expect(dark).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="Samples/s").focus()
    page.keyboard.press("Space")
    heads = page.locator("#workers th[aria-sort]")
    expect(heads).to_have_text("Samples/s")
    expect(heads).to_have_attribute("aria-sort", "descending")


def test_a_paused_page_stands_still_and_goes_on(page: Page) -> None:
    """What moves by itself can be stopped."""
    pause = page.get_by_role("button", name="Pause")
    pause.click()
    expect(page.locator("#link")).to_have_text("paused")
    before, at = text(page, "#streams"), page.evaluate("performance.now()")
    until_true(page, "at => performance.now() > at + 2500", at)
    assert before == text(page, "#streams")
    pause.click()
    expect(page.locator("#link")).to_have_text("live")
    until_true(
        page, "before => document.getElementById('streams').innerText.split(/\\s+/).join(' ').trim() !== before", before
    )


@pytest.mark.parametrize("width", [1280, 390, 320])
def test_the_page_fits_its_window(page: Page, width: int) -> None:
    """Nothing has to be scrolled sideways, and the topology is drawn for the width there is."""
    page.set_viewport_size({"width": width, "height": 800})
    expect(page.locator("#topology svg")).to_have_attribute("width", re.compile(r"\d+"))
    until_true(page, "() => document.querySelector('#topology svg').getBoundingClientRect().right <= innerWidth")
    until_true(page, "width => document.documentElement.scrollWidth === width", width)
    assert [] == page.evaluate(
        """[...document.querySelectorAll('.scroll')].filter(each => each.scrollWidth > each.clientWidth + 1)
           .map(each => each.querySelector('table').id)"""
    )


def test_reduced_motion_is_respected(page: Page) -> None:
    """No transition is left."""
    assert (
        "0s" != page.evaluate("getComputedStyle(document.getElementById('pause')).transitionDuration").partition(",")[0]
    )
    page.emulate_media(reduced_motion="reduce")
    assert (
        "0s" == page.evaluate("getComputedStyle(document.getElementById('pause')).transitionDuration").partition(",")[0]
    )


def test_the_verdict_is_spoken_once_it_changes_and_not_each_second(page: Page, training: Training) -> None:
    """Only the word's change reaches the live region; the sentence may change its numbers."""
    spoken = page.locator("#verdict-spoken")
    expect(spoken).to_have_attribute("aria-live", "polite")
    page.evaluate(
        """() => { window.spoken = 0; new MutationObserver(() => { window.spoken += 1; }).observe(
           document.getElementById('verdict-spoken'), { childList: true, characterData: true, subtree: true }); }"""
    )
    training.pause()
    expect(spoken).to_contain_text("trainer-bound")
    at = page.evaluate("performance.now()")
    before = page.evaluate("window.spoken")
    until_true(page, "at => performance.now() > at + 2500", at)
    assert page.evaluate("window.spoken") - before <= 1


@contextmanager
def away(faults: Faults) -> Generator[None]:
    """Let the page's requests fail for a while."""
    faults.is_away = True
    yield
    faults.is_away = False


def test_a_ventilator_that_falls_silent_is_said_to_be_lost(page: Page, stack: LocalStack, faults: Faults) -> None:
    """And when it speaks again, the page goes on."""
    process = stack.children["ventilator"].process
    with away(faults):
        os.kill(process.pid, signal.SIGSTOP)
        try:
            expect(page.locator("#link")).to_have_text("lost")
            expect(page.get_by_role("alert")).to_contain_text("What you see is from")
        finally:
            os.kill(process.pid, signal.SIGCONT)
        expect(page.locator("#link")).to_have_text("live")
        expect(page.locator("#lost")).to_be_hidden()


def test_the_page_recovers_when_the_ventilator_starts_again(page: Page, stack: LocalStack, faults: Faults) -> None:
    """Its history is put behind what the page remembers; numbers go on moving."""
    with away(faults):
        page.evaluate("window.kept = true")
        process = stack.children["ventilator"].process
        restarts = stack.children["ventilator"].restarts
        killed = page.evaluate("performance.now() / 1000")
        os.kill(process.pid, signal.SIGKILL)
        until(lambda: stack.children["ventilator"].restarts > restarts, "the ventilator to start again")
        until_true(
            page,
            """killed => { const up = /up ([\\d.]+) s/.exec(document.getElementById("facts").textContent);
               return up && Number(up[1]) < performance.now() / 1000 - killed; }""",
            killed,
        )
        expect(page.locator("#link")).to_have_text("live")
        expect(page.locator("#workers tbody tr")).to_have_count(2)
        page.wait_for_selector("#streams progress")
    assert page.evaluate("window.kept"), "the page was not loaded anew"


def test_a_page_that_is_opened_anew_begins_with_the_last_minutes(page: Page) -> None:
    """The server keeps the history."""
    lines = "[...document.querySelectorAll('#chart-rate .line.first')]"  # several: a stall parts a line in two
    points = f"Math.max(0, ...{lines}.map(line => line.getAttribute('d').split('L').length))"
    until_true(page, f"{points} > 5")
    page.reload()
    page.wait_for_selector("#link[data-state=live]")
    assert page.evaluate(points) > 5


def test_a_token_is_asked_for_once(browser: Browser, photos: Path, tmp_path: Path) -> None:
    """Without it nothing is shown; with it the page works, and its address forgets the token."""
    token = "for-this-test-only-0123456789"  # noqa: S105
    (tmp_path / "token").write_text(token)
    (tmp_path / "token").chmod(0o600)
    options = {"dashboard_token_file": str(tmp_path / "token"), "dashboard": "127.0.0.1:0"}
    with run_stack(make_spec(photos), workers=1, run_dir=tmp_path / "run", ventilator=options) as stack:
        log = stack.run_dir / "ventilator.log"
        [url] = until(lambda: re.findall(r'"url": "(http://[^"]+/)"', log.read_text()), "the page's address in the log")
        opened = browser.new_context()
        page = opened.new_page()
        answer = page.goto(url)
        assert answer
        assert 401 == answer.status
        assert "wants its token" in page.inner_text("body")
        page.goto(f"{url}?token={token}")
        page.wait_for_selector("#link[data-state=live]")
        assert url == page.url
        page.reload()
        page.wait_for_selector("#link[data-state=live]")
        assert "" == page.evaluate("document.cookie"), "no script can read it"
        opened.close()


def test_another_name_for_this_host_is_refused(context: BrowserContext, stack: LocalStack) -> None:
    """As after DNS rebinding: the browser asks us, by a name that is not ours."""
    port = stack.dashboard.rstrip("/").rpartition(":")[2]
    answer = context.request.get(stack.dashboard, headers={"Host": f"rebound.example:{port}"})
    assert 403 == answer.status
