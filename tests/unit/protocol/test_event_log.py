"""A core's memory of its last events: bounded, and searched by task, item or range of tasks."""

import pytest

from penstock.protocol.errors import SpecError
from penstock.protocol.event_log import MOST_TOLD, EventLog, parse_task_name
from penstock.protocol.messages import TaskKey


def key(ordinal: int, item_offset: int | None = None, stream: str = "train") -> TaskKey:
    """Return the name of a unit of work."""
    return TaskKey(stream=stream, ordinal=ordinal, item_offset=item_offset)


def test_a_story_holds_the_events_of_one_task_oldest_first() -> None:
    """Events of ranges that hold the task belong to it, those of other tasks and streams do not."""
    log = EventLog()
    log.add_ranges(1.0, "train", [(0, 4), (8, 9)], "missing")
    log.add(2.0, key(3), "leased")
    log.add(2.5, key(4), "leased")
    log.add(2.5, key(3, stream="validation"), "leased")
    log.add_tasks(4.0, "train", (2, 4), "sent")
    told = [(event.ago_s, event.what) for event in log.story(key(3), 5.0)]
    assert [(4.0, "missing"), (3.0, "leased"), (1.0, "sent")] == told


def test_the_story_of_an_item_leaves_out_the_other_items() -> None:
    """Events of the whole task belong to each of its items."""
    log = EventLog()
    log.add(0.0, key(3), "leased")
    log.add(1.0, key(3, 0), "split")
    log.add(1.0, key(3, 1), "split")
    assert [None, 1] == [event.item_offset for event in log.story(key(3, 1), 2.0)]
    assert [None, 0, 1] == [event.item_offset for event in log.story(key(3), 2.0)]
    assert "    1.000 s ago  item 1: split" == str(log.story(key(3, 1), 2.0)[-1])


def test_memory_is_bounded_and_so_is_a_story() -> None:
    """The oldest events are forgotten first; one task that fills the log is told by its last events."""
    log = EventLog(1000)
    for number in range(5000):
        log.add(float(number), key(3), str(number))
    assert 1000 == len(log)
    told = log.story(key(3), 5000.0)
    assert (MOST_TOLD, "4999") == (len(told), told[-1].what)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("train/17", key(17)), ("train/17.2", key(17, 2)), ("a/b/3", key(3, stream="a/b"))],
)
def test_a_task_is_named_by_stream_and_ordinal(text: str, expected: TaskKey) -> None:
    """The name is the one that traces use."""
    assert expected == parse_task_name(text)


@pytest.mark.parametrize("text", ["", "train", "train/", "/3", "train/x", "train/3.", "train/-1", "train/" + "9" * 19])
def test_what_names_no_task_is_refused_in_words(text: str) -> None:
    """The message quotes the text and shows how a task is named."""
    with pytest.raises(SpecError, match="give stream/ordinal, as in train/17"):
        parse_task_name(text)
