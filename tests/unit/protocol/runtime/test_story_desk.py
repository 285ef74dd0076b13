"""A task's story is put together from all processes that are asked; one that does not answer is named."""

import pytest

from penstock.protocol.event_log import MOST_TOLD, EventLog, StoryEvent, in_order
from penstock.protocol.instructions import Send
from penstock.protocol.messages import Story, StoryPart, StoryRequest, TaskKey
from penstock.protocol.runtime.story_desk import StoryDesk

KEY = TaskKey(stream="tr/ain \u00fc", ordinal=17)
OWN = StoryPart(service="ventilator", events=(StoryEvent(ago_s=4.0, what="leased"),))
PEERS = {b"w": "worker w", b"s": "sink"}


@pytest.fixture
def desk() -> StoryDesk:
    """Return a desk that was asked at 10.0 and waits until 11.0."""
    desk = StoryDesk(1.0)
    requests = desk.ask(b"client", 5, KEY, OWN, PEERS, 10.0)
    assert [Send(peer, StoryRequest(number=0, key=KEY)) for peer in PEERS] == requests
    return desk


def reply(service: str, ago_s: float, what: str, number: int = 0) -> Story:
    """Return a story of one event."""
    return Story(number=number, parts=(StoryPart(service=service, events=(StoryEvent(ago_s=ago_s, what=what),)),))


def test_it_answers_as_soon_as_all_have_replied(desk: StoryDesk) -> None:
    """In order of time, with ages that count from the answer, and with what the asker gave."""
    desk.receive(b"w", reply("worker w", 2.0, "sent"), 10.25)
    assert [] == desk.answers(10.25)
    assert 11.0 == desk.next_timer()
    desk.receive(b"s", reply("sink", 1.0, "arrived"), 10.5)
    [answer] = desk.answers(10.5)
    assert (b"client", 5) == (answer.asker, answer.tag)
    told = [(service, event.ago_s, event.what) for service, event in in_order(answer.parts)]
    assert [("ventilator", 4.5, "leased"), ("worker w", 2.25, "sent"), ("sink", 1.0, "arrived")] == told
    assert float("inf") == desk.next_timer()


def test_a_process_that_does_not_reply_in_time_is_named(desk: StoryDesk) -> None:
    """What it says later is dropped, and so is a second reply."""
    desk.receive(b"w", reply("worker w", 2.0, "sent"), 10.5)
    desk.receive(b"w", reply("worker w", 2.0, "sent twice"), 10.5)
    [answer] = desk.answers(11.0)
    missing = [(part.service, part.missing) for part in answer.parts if part.missing]
    assert [("sink", "no answer within 1 s")] == missing
    assert ["leased", "sent"] == [event.what for _, event in in_order(answer.parts)]
    desk.receive(b"s", reply("sink", 1.0, "arrived"), 11.5)
    assert [] == desk.answers(12.0)


def test_a_process_that_was_not_asked_adds_nothing(desk: StoryDesk) -> None:
    """Neither a stranger nor a number that was never given."""
    desk.receive(b"stranger", reply("sink", 1.0, "invented"), 10.5)
    desk.receive(b"s", reply("sink", 1.0, "invented", number=3), 10.5)
    [answer] = desk.answers(11.0)
    assert ["leased"] == [event.what for _, event in in_order(answer.parts)]


def test_a_process_without_events_is_left_out(desk: StoryDesk) -> None:
    """Of a hundred workers, most never had the task."""
    desk.receive(b"w", Story(number=0, parts=(StoryPart(service="worker w"),)), 10.5)
    desk.receive(b"s", reply("sink", 1.0, "arrived"), 10.5)
    [answer] = desk.answers(10.5)
    assert ["ventilator", "sink"] == [part.service for part in answer.parts]


def test_a_repeated_question_is_collected_once_and_others_are_bounded(desk: StoryDesk) -> None:
    """Clients repeat a question until it is answered; many clients cannot fill the memory."""
    assert [] == desk.ask(b"client", 5, KEY, OWN, PEERS, 10.5)
    for number in range(100):
        desk.ask(b"client %d" % number, 0, KEY, OWN, PEERS, 10.5)
    assert 32 == len(desk.answers(12.0))


def test_without_peers_the_answer_is_the_own_part() -> None:
    """A sink without trainers answers at once."""
    desk = StoryDesk(1.0)
    assert [] == desk.ask(b"client", 0, KEY, OWN, {}, 1.0)
    [answer] = desk.answers(1.0)
    assert (OWN,) == answer.parts


def test_an_answer_has_the_newest_thousand_events() -> None:
    """However much the processes tell."""
    desk = StoryDesk(1.0)
    log = EventLog()
    for number in range(MOST_TOLD):
        log.add(float(number), KEY, f"event {number}")
    peers = {b"%d" % number: f"worker {number}" for number in range(10)}
    desk.ask(b"client", 0, KEY, StoryPart(service="ventilator", events=log.story(KEY, 200.0)), peers, 200.0)
    for peer, name in peers.items():
        desk.receive(peer, Story(number=0, parts=(StoryPart(service=name, events=log.story(KEY, 200.0)),)), 200.0)
    [answer] = desk.answers(200.0)
    ages = [event.ago_s for _, event in in_order(answer.parts)]
    assert 1000 == len(ages)
    assert 91.0 == max(ages), "eleven processes: their newest 90 or 91 events"
