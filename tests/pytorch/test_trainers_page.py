"""The snippets of docs/trainers.md: each framework's own checkpoint resumes in mid-epoch with the very next batch."""

from pathlib import Path

import pytest
from support.trainers.ranks import two_ranks
from support.trainers.snippets import SNIPPETS, torch, train

from penstock.launcher.stack import LocalStack

pytestmark = [
    pytest.mark.integration,
    pytest.mark.torch,
    # The frameworks warn about themselves and each other, such as about this machine's cores.
    pytest.mark.filterwarnings("default"),
]

#: Batches of an epoch, and how many a run of two epochs gets before it is cut off: after a checkpoint of 5 or 10.
EPOCH, CUT = 15, 12
#: The same of each of two ranks.
HALF = 8


def test_each_framework_has_a_snippet() -> None:
    """The page was read."""
    assert {"lightning", "accelerate", "trainer", "timm", "composer", "flax"} == set(SNIPPETS)


@pytest.mark.parametrize("name", ["lightning", "accelerate", "trainer", "timm"])
def test_a_run_that_is_cut_off_goes_on_with_the_very_next_batch(
    stack: LocalStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """From its last checkpoint; the weights at the end are those of a run that was not cut off, to the last bit."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "whole").mkdir()
    whole = train(name, stack.address, tmp_path / "whole", cut=-1)
    assert 2 * EPOCH == len(whole.seen) == len(set(whole.seen))
    # The last checkpoints: in mid-epoch, and at an epoch's last step.
    for cut, last in ((CUT, 10), (EPOCH + 1, EPOCH)):
        folder = tmp_path / f"cut{cut}"
        folder.mkdir()
        before = train(name, stack.address, folder, cut)
        after = train(name, stack.address, folder, cut=-1)
        saved = len(whole.seen) - len(after.seen)
        assert (whole.seen[:cut], last) == (before.seen, saved)
        assert whole.seen[saved:] == after.seen
        for expected, got in zip(whole.parameters(), after.parameters(), strict=True):
            assert torch.equal(expected.cpu(), got.cpu())


# One snippet saves after every 5 steps, the other after 5 steps of each epoch.
@pytest.mark.parametrize(("name", "saved"), [("lightning", 10), ("accelerate", 5)])
def test_two_ranks_that_are_cut_off_go_on_with_the_very_next_batch(
    stack: LocalStack, tmp_path: Path, name: str, saved: int
) -> None:
    """Two processes of torchrun with gloo, told no rank: each sees its own batches, once, and both the same weights."""
    whole = two_ranks(name, stack.address, tmp_path / "whole", cut=-1)
    seen = [sums for rank in whole for sums in rank["seen"]]
    assert 2 * 2 * HALF == len(seen) == len(set(seen))
    before = two_ranks(name, stack.address, tmp_path / "cut", CUT)
    after = two_ranks(name, stack.address, tmp_path / "cut", cut=-1)
    for expected, first, rest in zip(whole, before, after, strict=True):
        assert expected["seen"][:CUT] == first["seen"]
        assert expected["seen"][saved:] == rest["seen"]
        assert whole[0]["weights"] == expected["weights"] == rest["weights"]
