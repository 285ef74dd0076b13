"""The snippets of docs/trainers.md: each framework's own checkpoint resumes in mid-epoch with the very next batch."""

import importlib
import re
from pathlib import Path
from typing import Any

import pytest
from support.imaging.torchvision_reference import transforms

from penstock.launcher.stack import LocalStack

transforms()  # timm imports torchvision
torch: Any = importlib.import_module("torch")

pytestmark = [
    pytest.mark.integration,
    pytest.mark.torch,
    # The frameworks warn about themselves and each other, such as about this machine's cores.
    pytest.mark.filterwarnings("default"),
]

PAGE = Path(__file__).parents[2] / "docs" / "trainers.md"
SNIPPETS = dict(
    re.findall(r'```python title="(\w+)_training\.py"\n(.*?)```', PAGE.read_text(encoding="utf-8"), re.DOTALL)
)
#: Batches of an epoch, and how many a run of two epochs gets before it is cut off: after a checkpoint of 5 or 10.
EPOCH, CUT = 15, 12


class Cut(BaseException):
    """The end of a process that is killed, as far as a framework sees it."""


class Network(torch.nn.Module):  # type: ignore[misc]
    """A small network that notes the loss-relevant sum of each batch, and is cut off before its step `cut`."""

    def __init__(self, cut: int) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(3, 4, 5, stride=4),
            torch.nn.AdaptiveAvgPool2d(2),
            torch.nn.Flatten(),
            torch.nn.Linear(16, 2),
        )
        self.cut, self.seen = cut, list[float]()

    def forward(self, images: Any) -> Any:
        """Return the logits."""
        if len(self.seen) == self.cut:
            raise Cut
        self.seen.append(round(float(images.double().sum()), 3))
        return self.layers(images)


def train(name: str, stack: LocalStack, folder: Path, cut: int) -> Network:
    """Run a snippet up to the step `cut`; return the network."""
    names: dict[str, Any] = {"__name__": f"{name}_training"}
    exec(compile(SNIPPETS[name], f"{PAGE.name}:{name}", "exec"), names)  # noqa: S102 - what the page says
    network = Network(cut)
    try:
        names["train"](network, stack.address, folder)
    except Cut:
        assert len(network.seen) == cut
    return network


def test_each_framework_has_a_snippet() -> None:
    """The page was read."""
    assert {"lightning", "accelerate", "trainer", "timm"} == set(SNIPPETS)


@pytest.mark.parametrize("name", ["lightning", "accelerate", "trainer", "timm"])
def test_a_run_that_is_cut_off_goes_on_with_the_very_next_batch(
    stack: LocalStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """From its last checkpoint; the weights at the end are those of a run that was not cut off, to the last bit."""
    monkeypatch.chdir(tmp_path)
    for run in ("whole", "cut"):
        (tmp_path / run).mkdir()
    whole = train(name, stack, tmp_path / "whole", cut=-1)
    assert 2 * EPOCH == len(whole.seen) == len(set(whole.seen))
    before = train(name, stack, tmp_path / "cut", CUT)
    after = train(name, stack, tmp_path / "cut", cut=-1)
    saved = len(whole.seen) - len(after.seen)
    assert (whole.seen[:CUT], 10) == (before.seen, saved)
    assert whole.seen[saved:] == after.seen
    for expected, got in zip(whole.parameters(), after.parameters(), strict=True):
        assert torch.equal(expected.cpu(), got.cpu())
