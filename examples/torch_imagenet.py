"""Train a residual network on a folder of images with PyTorch: on one CPU or GPU, or on several by torchrun.

    penstock up examples/imagenet.toml --root photos=/your/photos         # once: the workers
    python examples/torch_imagenet.py tcp://127.0.0.1:5557                # one process, or one process a GPU:
    torchrun --nproc-per-node=2 examples/torch_imagenet.py tcp://127.0.0.1:5557

Killed at any moment and started again, at another number of processes too, it continues with the very next batch. On a
GPU it computes in bfloat16 where that is exact enough (AMP). The spec has the streams `train` and `validation`.
"""

import argparse
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch  # pyright: ignore[reportMissingImports]
import torch.distributed as dist  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]

import penstock

#: ImageNet's, of levels from 0 to 255.
MEAN, STD = (torch.tensor(numbers).view(1, 3, 1, 1) for numbers in ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)))


class Block(nn.Module):  # type: ignore[misc]
    """Two convolutions and a shortcut: the block of ResNet-18."""

    def __init__(self, channels: int, filters: int, stride: int) -> None:
        """Take the channels of its input and of its output."""
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, filters, 3, stride, 1, bias=False),
            nn.BatchNorm2d(filters),
            nn.ReLU(inplace=True),
            nn.Conv2d(filters, filters, 3, 1, 1, bias=False),
            nn.BatchNorm2d(filters),
        )
        same = stride == 1 and channels == filters
        self.shortcut = nn.Identity() if same else nn.Conv2d(channels, filters, 1, stride, bias=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the sum of both ways."""
        return torch.relu(self.body(images) + self.shortcut(images))


class ResNet(nn.Module):  # type: ignore[misc]
    """ResNet-18, or with a smaller `width` a network like it; takes images as they come from the workers (uint8)."""

    def __init__(self, classes: int, width: int = 64) -> None:
        """Take the number of classes, and of the first layer's filters."""
        super().__init__()
        layers: list[Any] = [nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        layers.append(nn.MaxPool2d(3, 2, 1))
        channels = width
        for stage in range(4):
            for block in range(2):
                stride = 2 if stage and not block else 1
                layers.append(Block(channels, width << stage, stride))
                channels = width << stage
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))
        self.register_buffer("mean", MEAN)
        self.register_buffer("std", STD)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        return self.layers((images.float() - self.mean) / self.std)


def main() -> None:
    """Train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sink", help="address of a running stack's sink; its keys: PENSTOCK_KEYS")
    parser.add_argument("--epochs", type=int, default=90)
    parser.add_argument("--width", type=int, default=64, help="filters of the first layer; 64 is ResNet-18")
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--save-every", type=int, default=200, metavar="BATCHES")
    parser.add_argument("--run", type=Path, default=Path("run"))
    options = parser.parse_args()

    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if torch.cuda.is_available() else "cpu"
    if "LOCAL_RANK" in os.environ:  # torchrun started this
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    with penstock.connect(options.sink, "train") as train, penstock.connect(options.sink, "validation") as validation:
        training = Training(train, torch.device(device), options)
        training.restore()
        for epoch in range(train.upcoming_epoch(), options.epochs):
            loss = training.epoch()
            hits = training.validate(validation.torch(device))
            if train.rank == 0:
                print(f"epoch {epoch}: loss {loss:.3f}, {hits:.1%} right, waited {train.stats.wait_fraction:.0%}")
    if dist.is_initialized():
        dist.destroy_process_group()


class Training:
    """The model, what optimises it, the loader, and the file that all of them are saved in."""

    def __init__(self, feed: penstock.Feed, device: torch.device, options: argparse.Namespace) -> None:
        """Make them."""
        torch.manual_seed(0)
        self.device, self.options, self.feed = device, options, feed
        # The faster memory format on a GPU. On the CPU, PyTorch 2.13 crashes with it in backward passes of few filters.
        layout = torch.channels_last if device.type == "cuda" else torch.contiguous_format
        self.loader = feed.torch(device, channels_last=device.type == "cuda")
        model: Any = ResNet(len(feed.classes), options.width).to(device, memory_format=layout)
        self.model = nn.parallel.DistributedDataParallel(model) if dist.is_initialized() else model
        self.optimizer = torch.optim.SGD(self.model.parameters(), options.lr, momentum=0.9, weight_decay=1e-4)
        self.file = options.run / "checkpoint.pt"

    def epoch(self) -> float:
        """Train up to the end of the epoch; return the last batch's loss."""
        self.model.train()
        loss: Any = torch.tensor(0.0)
        for step, batch in enumerate(self.loader, 1):
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
                loss = nn.functional.cross_entropy(self.model(batch["image"]), batch["label"].long())
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            if step % self.options.save_every == 0:
                self.save()
        self.save()
        return float(loss.detach())

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def validate(self, loader: Iterable[dict[str, torch.Tensor]]) -> float:
        """Return the fraction of all ranks' validation images that are classified rightly."""
        self.model.eval()
        counts = torch.zeros(2, device=self.device)
        for batch in loader:
            right = self.model(batch["image"]).argmax(1) == batch["label"]
            counts += torch.stack([right.sum(), torch.tensor(len(right), device=self.device)])
        if dist.is_initialized():
            dist.all_reduce(counts)
        return float(counts[0] / counts[1])

    def save(self) -> None:
        """Save everything in one file, which is replaced when it is complete; rank 0's state resumes every rank."""
        if self.feed.rank == 0:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            states = {name: getattr(self, name).state_dict() for name in ("model", "optimizer", "loader")}
            states["model"] = {name.removeprefix("module."): value for name, value in states["model"].items()}
            torch.save(states, self.file.with_suffix(".new"))
            self.file.with_suffix(".new").replace(self.file)

    def restore(self) -> None:
        """Load the file, if there is one."""
        if self.file.exists():
            states = torch.load(self.file, map_location=self.device, weights_only=True)
            getattr(self.model, "module", self.model).load_state_dict(states["model"])
            self.optimizer.load_state_dict(states["optimizer"])
            self.loader.load_state_dict(states["loader"])


if __name__ == "__main__":
    main()
