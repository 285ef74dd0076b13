"""The snippets of docs/trainers.md, run up to a step: what a test and the ranks that it starts share."""

import importlib
import importlib.util
import re
from pathlib import Path
from typing import Any

from support.imaging.torchvision_reference import transforms

if importlib.util.find_spec("timm"):
    transforms()  # timm imports torchvision
torch: Any = importlib.import_module("torch")

PAGE = Path(__file__).parents[3] / "docs" / "trainers.md"
SNIPPETS = dict(
    re.findall(r'```python title="(\w+)_training\.py"\n(.*?)```', PAGE.read_text(encoding="utf-8"), re.DOTALL)
)


class Cut(BaseException):
    """The end of a process that is killed, as far as a framework sees it."""


class Network(torch.nn.Module):  # type: ignore[misc]
    """A small network that notes the loss-relevant sum of each batch, and is cut off before its step `cut`.

    With `dropout`, a step needs random numbers, too.
    """

    def __init__(self, cut: int, dropout: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(3, 4, 5, stride=4),
            torch.nn.AdaptiveAvgPool2d(2),
            torch.nn.Flatten(),
            torch.nn.Dropout(dropout),
            torch.nn.Linear(16, 2),
        )
        self.cut, self.seen = cut, list[float]()

    def forward(self, images: Any) -> Any:
        """Return the logits."""
        if len(self.seen) == self.cut:
            raise Cut
        self.seen.append(round(float(images.double().sum()), 3))
        return self.layers(images)


def train(name: str, address: str, folder: Path, cut: int, **options: Any) -> Network:
    """Run a snippet up to the step `cut`; return the network. `options` are further arguments of its `train`."""
    return train_network(Network(cut), name, address, folder, **options)


def train_network(network: Network, name: str, address: str, folder: Path, **options: Any) -> Network:
    """Run a snippet with this network, up to the step where it is cut off."""
    names: dict[str, Any] = {"__name__": f"{name}_training"}
    exec(compile(SNIPPETS[name], f"{PAGE.name}:{name}", "exec"), names)  # noqa: S102 - what the page says
    try:
        names["train"](network, address, folder, **options)
    except Cut:
        assert len(network.seen) == network.cut
    return network
