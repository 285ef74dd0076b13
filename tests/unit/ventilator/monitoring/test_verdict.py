"""The verdict: who waits for whom, from what was seen of trainers, workers and sink during some seconds."""

import dataclasses
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.protocol.snapshot import CAUSES, WORDS, Word
from penstock.ventilator.monitoring.verdict import (
    FED,
    HOLD_S,
    PATIENCE_S,
    Evidence,
    Hanging,
    Judge,
    judge,
    missing_workers,
)

#: A trainer that waits half of its time for one worker, which is busy.
BUSY = Evidence(
    seconds=8.0,
    wait_fraction=0.5,
    trainers=1,
    workers=1,
    make_s=8.0,
    items=100,
    delivered=100,
    wanted=64,
    open=60.0,
    head_s=0.1,
)
HANGS = Hanging("host/7", "working on task 3", 20.0)


def seen(**changes: Any) -> Evidence:
    """Return the usual evidence with changes."""
    return dataclasses.replace(BUSY, **changes)


@pytest.mark.parametrize(
    ("evidence", "word", "cause", "says"),
    [
        (seen(), "worker-bound", "", "about 1 more worker of this kind"),
        (seen(wait_fraction=0.0), "trainer-bound", "", "waited 0%"),
        (seen(wait_fraction=FED - 0.001, read_s=99.0), "trainer-bound", "", "more workers would idle"),
        (seen(wait_fraction=FED), "worker-bound", "", "waited 10%"),
        (seen(wait_fraction=1.0), "worker-bound", "", "at least"),
        (seen(read_s=8.1), "read-bound", "", "faster storage"),
        (seen(read_s=7.9), "worker-bound", "", ""),
        (
            seen(keepable_s=4.1),
            "worker-bound",
            "",
            "waited 50% of its time and the workers spent 51% of theirs decoding",
        ),
        (seen(send_s=8.1), "sink-bound", "", "handing results over"),
        (seen(make_s=1.0, idle_s=7.0, under_way=2.0), "sink-bound", "", "no task for 88%"),
        (seen(make_s=1.0, idle_s=7.0), "worker-bound", "", ""),
        (seen(starved=0.2), "sink-bound", "", "on the way"),
        (seen(starved=0.2, copy_fraction=0.8), "copy-bound", "", "copies to its device took 80%"),
        (seen(starved=0.2, copy_fraction=0.5), "sink-bound", "", "on the way"),
        (seen(copy_fraction=0.9), "worker-bound", "", ""),
        (seen(workers=3, cut_off=2), "sink-bound", "", "2 of 3 workers cannot reach the sink"),
        (seen(failed=51), "quarantine-bound", "", "51% of the items"),
        (seen(failed=50), "worker-bound", "", ""),
        (seen(items=0, failed=3), "quarantine-bound", "", "100% of the items"),
        (seen(writer_fraction=0.4), "writer-bound", "", "held everything up for 40%"),
        (seen(writer_fraction=0.2), "worker-bound", "", ""),
        (seen(trainers=0, wait_fraction=None, writers=1, writer_fraction=0.6), "writer-bound", "", "faster disk"),
        (seen(trainers=0, wait_fraction=None, writers=1), "worker-bound", "", "more workers"),
        (seen(sink=False), "stalled", "no sink", "no sink"),
        (seen(trainers=0, wait_fraction=None), "idle", "", "connect a trainer"),
        (seen(trainers=0, stopped="12 of 20 items failed"), "stalled", "stopped stream", "12 of 20 items failed"),
        (seen(workers=0), "stalled", "no worker", "64 tasks wait"),
        (seen(workers=0, wanted=0, wait_fraction=0.0), "trainer-bound", "", ""),
        (seen(delivered=0, hanging=HANGS, head_s=20.0), "stalled", "hanging task", "host/7 has been working on task 3"),
        (seen(hanging=HANGS, head_s=20.0), "worker-bound", "", ""),
        (seen(delivered=0, items=0, head_s=3 * PATIENCE_S), "stalled", "no progress", "nothing has been made"),
        (seen(delivered=0, items=0, head_s=1.0), "starting", "", "first samples"),
        (seen(delivered=0, items=0, head_s=PATIENCE_S), "worker-bound", "", ""),
        (seen(delivered=0, items=0, head_s=PATIENCE_S, make_s=0.0), "stalled", "no progress", "for 10 s"),
        (seen(delivered=0, items=0, head_s=PATIENCE_S, make_s=0.0, idle_s=8.0, under_way=1.0), "sink-bound", "", ""),
        (seen(workers=8, open=8.9), "window-bound", "", "tasks for about 8 workers"),
        (seen(workers=8, open=10.9), "worker-bound", "", "about 2 more of this kind would help"),
        (seen(workers=2, open=4.0), "worker-bound", "", "about 2 more workers of this kind would keep it fed"),
        (seen(workers=2, open=1.0, delivered=0, head_s=1.0), "worker-bound", "", "about 2 more workers"),
        (seen(trainers=0, wait_fraction=None, writers=1, open=1.0), "window-bound", "", "a file is written"),
        (seen(seconds=1.0), "starting", "", ""),
    ],
)
def test_the_word_follows_from_what_was_seen(evidence: Evidence, word: str, cause: str, says: str) -> None:
    """A trainer that hardly waits is the limit itself; otherwise what most of the workers' time goes into is."""
    verdict = judge(evidence)
    assert (word, cause) == (verdict.word, verdict.cause)
    assert verdict.sentence.startswith(word)
    assert says in verdict.sentence


def test_a_cache_is_named_only_where_workers_decode_and_have_none() -> None:
    """Not where decoding is the lesser part, and not where there is one."""
    assert "which a cache may save" in judge(seen(keepable_s=4.1)).sentence
    for evidence in (seen(keepable_s=4.0), seen(keepable_s=8.0, cached=True), seen(keepable_s=8.0, wait_fraction=0.0)):
        assert "cache" not in judge(evidence).sentence


@pytest.mark.parametrize(
    ("workers", "wait", "more"), [(4, 0.5, 4), (4, 0.2, 1), (2, 0.75, 6), (1, 0.1, 1), (1, 0.75, 3), (1, 0.5, 1)]
)
def test_a_worker_bound_run_is_told_how_many_workers_are_missing(workers: int, wait: float, more: int) -> None:
    """So many that the trainer then waits for less than a tenth of its time."""
    verdict = judge(seen(workers=workers, wait_fraction=wait))
    assert more == verdict.more_workers
    assert f"about {more} more worker{'s' if more > 1 else ''} " in verdict.sentence
    still = 1 - (workers + more) / workers * (1 - wait)
    assert still <= FED


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_the_number_of_missing_workers_is_never_absurd(workers: int, wait: float) -> None:
    """One at least, and never more than twenty times what is there."""
    assert 1 <= missing_workers(workers, wait) <= 20 * workers


_SIZES = st.floats(0, 1e9)
_NUMBERS = st.integers(0, 10**6)
EVIDENCE = st.builds(
    Evidence,
    seconds=_SIZES,
    wait_fraction=st.none() | st.floats(0, 1),
    starved=st.floats(0, 1),
    trainers=_NUMBERS,
    writers=_NUMBERS,
    workers=_NUMBERS,
    cut_off=_NUMBERS,
    sink=st.booleans(),
    stopped=st.text(),
    read_s=_SIZES,
    make_s=_SIZES,
    send_s=_SIZES,
    idle_s=_SIZES,
    items=_NUMBERS,
    failed=_NUMBERS,
    delivered=_NUMBERS,
    wanted=_NUMBERS,
    under_way=_SIZES,
    open=_SIZES,
    head_s=_SIZES,
    hanging=st.none() | st.builds(Hanging, worker=st.text(), what=st.text(), seconds=_SIZES),
    writer_fraction=st.floats(0, 1),
)


@given(EVIDENCE, st.none() | st.sampled_from(WORDS))
def test_whatever_is_seen_there_is_a_verdict(evidence: Evidence, before: Word | None) -> None:
    """It is total, never raises, and says a cause exactly when it says that the stack stands still."""
    verdict = judge(evidence, before)
    assert verdict.word in WORDS
    assert verdict.cause in CAUSES
    assert (verdict.word == "stalled") == bool(verdict.cause)
    assert verdict.sentence.startswith(verdict.word)
    assert (verdict.more_workers > 0) == (verdict.word == "worker-bound" and evidence.trainers > 0)


def test_a_sentence_stays_short_whatever_peers_call_themselves() -> None:
    """A worker's name may have 4096 letters, its task's stream as many: quoting both fits the message all the same."""
    long = Hanging("w" * 4096, "working on task 3 of stream " + "s" * 4096, 20.0)
    assert len(judge(seen(delivered=0, hanging=long, head_s=20.0)).sentence) <= 1000
    assert len(judge(seen(trainers=0, stopped="x" * 10_000)).sentence) <= 1000


def test_every_word_and_cause_can_be_said() -> None:
    """None stands in the documentation only."""
    cases = test_the_word_follows_from_what_was_seen.pytestmark[0].args[1]  # type: ignore[attr-defined]
    assert set(get_args(Word)) == {word for _, word, _, _ in cases}
    assert set(CAUSES) == {cause for _, _, cause, _ in cases}


def test_a_word_is_held_until_another_has_been_true_for_a_while() -> None:
    """Otherwise it would flicker where two things limit a stack by turns."""
    judge_ = Judge(now=0.0)
    assert "worker-bound" == judge_.hear(seen(), now=1.0).word
    assert "worker-bound" == judge_.hear(seen(read_s=20.0), now=2.0).word
    assert "worker-bound" == judge_.hear(seen(), now=3.0).word
    assert "worker-bound" == judge_.hear(seen(read_s=20.0), now=4.0).word
    assert "worker-bound" == judge_.hear(seen(read_s=20.0), now=4.0 + HOLD_S - 0.1).word
    changed = judge_.hear(seen(read_s=20.0), now=4.0 + HOLD_S)
    assert ("read-bound", 0.0) == (changed.word, changed.for_s)
    assert 2.0 == judge_.hear(seen(read_s=20.0), now=6.0 + HOLD_S).for_s


def test_a_fed_trainer_may_wait_a_little_more_before_the_word_changes() -> None:
    """A fraction at the threshold would flicker."""
    near = seen(wait_fraction=FED * 1.1)
    assert "worker-bound" == judge(near).word
    assert "trainer-bound" == judge(near, "trainer-bound").word


def test_what_stood_still_and_goes_on_is_said_at_once() -> None:
    """And a stack that starts is not said to stand still before its parts had time to come."""
    judge_ = Judge(now=0.0)
    assert "starting" == judge_.hear(seen(sink=False), now=0.5).word
    assert "no sink" == judge_.hear(seen(sink=False), now=0.5 + HOLD_S).cause
    assert "idle" == judge_.hear(seen(trainers=0, wait_fraction=None), now=4.0).word
    assert "worker-bound" == judge_.hear(seen(), now=4.5).word
