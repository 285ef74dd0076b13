"""One worker that lies ends no stream: what trainers get is what the honest worker makes."""

from collections import Counter
from pathlib import Path

import pytest
import zmq
from support.hostile import Attacker
from support.services.lying_worker import LyingWorker, forged
from support.streams import Batch, digest, epochs, make_images, make_spec, run_stack, take, told, until

from penstock.launcher.stack import LocalStack

pytestmark = pytest.mark.integration


def counted(stack: LocalStack, what: str) -> Counter[str]:
    """Return what the sink counts by reason or outcome."""
    return Counter(told(stack, "sink").get(what, {}))


def test_a_lying_worker_ends_no_stream(tmp_path: Path) -> None:
    """Forged results change nothing, nor do fatal failures of all that a worker is leased; others cost half the budget.

    Before, one forged result with `fatal`, or 7 failures of the 120 items, ended the stream for good.
    """
    spec = make_spec(make_images(tmp_path / "photos", each=60))
    with run_stack(spec, workers=1) as stack:
        feed = stack.feed()
        reference = digest(epochs(feed, 1))
        feed = stack.feed()
        with Attacker(zmq.PUSH, stack.addresses.results) as results:
            results.send(forged(feed.plan.token, 10, fatal=True) + forged(feed.plan.token, 40))
            got = take(feed, 2)
            until(lambda: counted(stack, "rejected")["lease"] >= 50, "the sink to drop the forged results")
        with LyingWorker(stack.addresses.ventilator, stack.addresses.results, fatal=True) as liar:
            until(lambda: liar.joined, "the liar to be let in")
            got += epochs(feed, 1)
            more = epochs(feed, 1)
            until(lambda liar=liar: liar.lies > 0, "the liar to lie")  # type: ignore[misc]
        with LyingWorker(stack.addresses.ventilator, stack.addresses.results, fatal=False) as liar:
            until(lambda: liar.joined, "the liar to be let in")
            less = epochs(feed, 1)
            until(lambda liar=liar: liar.lies > 0, "the liar to lie")  # type: ignore[misc]
        assert reference == digest(got)
        assert 120 * 3 == samples(more)
        assert samples(less) >= (120 - 3) * 3  # of the 6 failures that the budget allows
        assert {} == told(stack, "sink")["stopped"]
        assert {} == {name: child.restarts for name, child in stack.children.items() if child.restarts}


def samples(batches: list[Batch]) -> int:
    """Return how many samples the batches hold."""
    return sum(len(batch["label"]) for batch in batches)
