"""The verdict: who waited for whom, from what a trainer and its workers measured."""

import pytest

from penstock.verdict import FED, READING, SENDING, judge

EVEN = {"read_s": 1.0, "decode_s": 1.0, "transform_s": 1.0, "send_s": 1.0}


@pytest.mark.parametrize(
    ("wait", "spent", "word"),
    [
        (0.0, EVEN, "trainer-bound"),
        (FED - 0.001, EVEN | {"read_s": 99.0}, "trainer-bound"),
        (FED, EVEN, "worker-bound"),
        (0.9, EVEN, "worker-bound"),
        (1.0, EVEN, "worker-bound"),
        (0.9, EVEN | {"decode_s": 99.0}, "worker-bound"),
        (0.5, EVEN | {"read_s": 3.0 * READING / (1 - READING) + 0.1}, "read-bound"),
        (0.5, EVEN | {"read_s": 3.0 * READING / (1 - READING) - 0.1}, "worker-bound"),
        (0.5, EVEN | {"send_s": 3.0 * SENDING / (1 - SENDING) + 0.1}, "sink-bound"),
        (0.5, {}, "worker-bound"),
        (0.0, {}, "trainer-bound"),
    ],
)
def test_the_word_follows_from_waiting_and_from_where_the_workers_time_went(
    wait: float, spent: dict[str, float], word: str
) -> None:
    """A trainer that hardly waits is the limit itself; otherwise what most of the workers' time goes into is."""
    verdict = judge(wait, spent, 4)
    assert word == verdict.word
    assert verdict.sentence.startswith(word)


@pytest.mark.parametrize(("workers", "wait", "more"), [(4, 0.5, 4), (4, 0.2, 1), (2, 0.75, 6), (1, 0.1, 1)])
def test_a_worker_bound_run_is_told_how_many_workers_are_missing(workers: int, wait: float, more: int) -> None:
    """Half the time waited means that twice the workers would do."""
    assert f"about {more} more worker{'s' if more > 1 else ''} " in judge(wait, EVEN, workers).sentence
