"""An adapter of a test package, over a real stack: the protocols of batches suffice to write one."""

from collections.abc import Iterator
from typing import Any

import pytest
from support.streams import epochs, make_images, make_spec, make_stream, run_stack

import penstock
from penstock.launcher.stack import LocalStack
from penstock.trainer.adapters import ADAPTERS

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """Return a running stack: 40 images in batches of 16, the last of 8."""
    photos = make_images(tmp_path_factory.mktemp("photos"), each=20)
    stream = make_stream(transform={"resize": {"height": 8, "width": 12}}, patches=1, mix=1)
    with run_stack(make_spec(photos, train=stream), workers=1) as running:
        yield running


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the toy adapter as a program would get it: `penstock.toy`."""
    monkeypatch.setitem(ADAPTERS, "toy", "support.extensions.toy_adapter")
    return getattr(penstock, "toy")  # noqa: B009 - no type has it


def test_an_adapter_gives_the_feeds_batches_in_its_own_form(stack: LocalStack, toy: Any) -> None:
    """Two epochs: every batch, in order, and the time that the loop waited."""
    with stack.feed() as plain, stack.feed() as feed:
        expected = [(batch["label"].tolist(), batch["item"].tolist()) for batch in epochs(plain, 2)]
        loader = toy.ListLoader(feed, "label", "item")
        assert 3 == len(loader)
        assert expected == [batch for _ in range(2) for batch in loader]
        assert feed.stats.wait_s > 0


@pytest.mark.parametrize("finished", [0, 1, 2, 3, 4])
def test_its_state_is_what_the_loop_has_finished_with(stack: LocalStack, toy: Any, finished: int) -> None:
    """A batch is fetched ahead of it, within an epoch and at its end; the state goes on with the very next one."""
    with stack.feed() as plain, stack.feed() as first, stack.feed() as second:
        expected = [batch["item"].tolist() for batch in epochs(plain, 2)]
        loader = toy.ListLoader(first, "item")
        taken: list[list[int]] = []
        while len(taken) <= finished:
            for (items,) in loader:
                taken.append(items)
                if len(taken) > finished:  # this one is in hand, not finished with
                    break
        assert expected[: finished + 1] == taken
        second.load_state_dict(loader.state_dict())
        assert expected[finished] == next(iter(second))["item"].tolist()
