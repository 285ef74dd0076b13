"""A task's story is put together from the services that are asked; one that does not tell names its reason."""

from pathlib import Path

import pytest

from penstock.observe.story_client import Part, ask_service, merge
from penstock.protocol.event_log import MOST_TOLD, EventLog
from penstock.protocol.records import TaskKey
from penstock.protocol.runtime.health import Health

KEY = TaskKey(stream="tr/ain ü", ordinal=17)


@pytest.fixture
def log() -> EventLog:
    """Return a log with more events of the task than are told, and one of another task."""
    log = EventLog()
    for number in range(MOST_TOLD + 5):
        log.add(float(number), KEY, f"event {number}")
    log.add(0.0, TaskKey(stream="other", ordinal=17), "not of this task")
    return log


@pytest.mark.parametrize("kind", ["host:port", "url", "path"])
def test_a_service_tells_the_newest_events_of_one_task(log: EventLog, kind: str, tmp_path: Path) -> None:
    """By every form of a health address, with a stream's odd name, and never more than a story's bound."""
    health = Health(str(tmp_path / "s.health") if kind == "path" else "127.0.0.1:0", lambda: {"ready": True})
    try:
        health.tell(log.story)
        address = health.url
        if kind == "host:port":
            address = address.removeprefix("http://").removesuffix("/healthz")
        part = ask_service(address, KEY, 5.0)
        one = ask_service(address, KEY.model_copy(update={"item_offset": 2}), 5.0)
    finally:
        health.close()
    assert "" == part.why
    assert [f"event {number}" for number in range(5, MOST_TOLD + 5)] == [event.what for event in part.story]
    assert [event.what for event in part.story] == [event.what for event in one.story]


@pytest.mark.parametrize(
    ("address", "words"),
    [("0.0.0.0:0", "served on loopback and Unix sockets only"), ("127.0.0.1:0", "it answers 404")],
)
def test_a_service_that_tells_nothing_says_why(address: str, words: str, log: EventLog) -> None:
    """On all addresses a story would name hosts and files to strangers; a program without stories says 404."""
    health = Health(address, lambda: {"ready": True})
    try:
        if address.startswith("0"):
            health.tell(log.story)
        part = ask_service(health.url.replace("0.0.0.0", "127.0.0.1"), KEY, 5.0)  # noqa: S104 - the address it logs
    finally:
        health.close()
    assert () == part.story
    assert words in part.why


def test_an_address_without_a_service_is_named_with_what_to_give(tmp_path: Path) -> None:
    """The rest of the story is printed all the same."""
    for address in (str(tmp_path / "nobody.health"), "127.0.0.1:1", "127.0.0.1:many"):
        part = ask_service(address, KEY, 5.0)
        assert (address, ()) == (part.service, part.story)
        assert "host:port or /path of its --health" in part.why, part


def test_the_parts_are_told_in_order_of_time() -> None:
    """Oldest first, each line with its service."""
    logs = {"ventilator": [(1.0, "leased"), (4.0, "confirmed")], "worker": [(2.0, "queued"), (3.0, "sent")]}
    parts = [Part("sink", 5.0, why="no answer")]
    for name, events in logs.items():
        log = EventLog()
        for at, what in events:
            log.add(at, KEY, what)
        asked = 5.0 + len(parts)  # one is asked after the other
        parts.append(Part(name, asked, log.story(KEY, asked)))
    merged = merge(parts, 10.0)
    assert [9.0, 8.0, 7.0, 6.0] == [event.ago_s for _, event in merged]
    told = [(name, event.what) for name, event in merged]
    assert [("ventilator", "leased"), ("worker", "queued"), ("worker", "sent"), ("ventilator", "confirmed")] == told
