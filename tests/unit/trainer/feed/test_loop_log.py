"""What FeedLog writes, and when; Weights & Biases and TensorBoard themselves are in the torch tier."""

from types import SimpleNamespace
from typing import Any

import pytest
from support.streams import until

from penstock.protocol.errors import SpecError, StackError
from penstock.trainer.feed.loop_log import FeedLog
from penstock.trainer.feed.stats import FeedStats


class Target:
    """A place to log to: a list of what was written."""

    def __init__(self) -> None:
        self.written: list[Any] = []

    def log(self, numbers: dict[str, Any], step: int | None = None) -> None:
        """Write as a run of Weights & Biases does."""
        self.written.append((step, numbers))

    def add_scalar(self, name: str, value: float, step: int) -> None:
        """Write a number as a SummaryWriter does."""
        self.written.append((step, name, value))

    add_text = add_scalar


def feed() -> Any:
    """Return an object with a clock whose times the test sets."""
    return SimpleNamespace(stats=FeedStats())


def test_the_numbers_are_those_since_the_last_time() -> None:
    """Fractions of the loop's time, at every second step; a loader stands for its feed."""
    source, run = feed(), Target()
    source.stats.wait_s, source.stats.busy_s, source.stats.samples = 100.0, 100.0, 999
    log = FeedLog(SimpleNamespace(feed=source), wandb=run, every_steps=2)
    source.stats.wait_s += 1.0
    source.stats.busy_s += 3.0
    source.stats.copy_s += 2.0
    source.stats.samples += 64
    assert {} == log.step(10)
    expected = {"penstock/samples_per_s": 16.0, "penstock/wait_fraction": 0.25, "penstock/copy_fraction": 0.5}
    assert expected == log.step(11)
    assert [(11, expected)] == run.written
    assert {} == log.step()
    assert 0.0 == log.step()["penstock/samples_per_s"]
    assert run.written[-1][0] is None


def test_tensorboard_gets_numbers_and_the_word_by_step() -> None:
    """Each under its own name; the word once the stack has answered, asked for on a thread."""
    writer = Target()
    stack: Any = SimpleNamespace(snapshot=lambda: SimpleNamespace(verdict=SimpleNamespace(word="idle")))
    log = FeedLog(feed(), tensorboard=writer, every_steps=1, stack=stack)
    until(lambda: log.step().get("penstock/verdict") == "idle", "the word")
    assert {"penstock/samples_per_s", "penstock/wait_fraction", "penstock/copy_fraction", "penstock/verdict"} == {
        name for _, name, _ in writer.written
    }
    assert 1 == writer.written[0][0]


def test_a_stack_that_does_not_answer_stops_no_training() -> None:
    """Its word is `unknown`."""

    def fail() -> Any:
        raise StackError("the ventilator does not say how it goes")

    stack: Any = SimpleNamespace(snapshot=fail)
    log = FeedLog(feed(), wandb=Target(), every_steps=1, stack=stack)
    until(lambda: log.step().get("penstock/verdict") == "unknown", "the word")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({}, "give wandb=run, tensorboard=writer"),
        ({"wandb": Target(), "every_steps": 0}, "every_steps = 0"),
        ({"wandb": Target(), "stack": 3}, "stack = 3: give a LocalStack"),
        ({"wandb": Target(), "stack": "head"}, "'head'"),
    ],
)
def test_wrong_arguments_are_refused(options: dict[str, Any], why: str) -> None:
    """Before the training begins."""
    with pytest.raises(SpecError, match=why):
        FeedLog(feed(), **options)
