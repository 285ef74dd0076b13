"""Train without labels in DINO's manner, with PyTorch: a student sees all views of an image, a teacher the large ones.

    penstock up examples/dino.toml --root photos=/your/photos             # once: the workers
    python examples/torch_dino.py tcp://127.0.0.1:5557                    # one process, or one process a GPU:
    torchrun --nproc-per-node=2 examples/torch_dino.py tcp://127.0.0.1:5557

The workers cut the views out of one decoded image; each is a field of its own: `global_1` and `global_2` of 224 × 224
pixels, `local_1` to `local_6` of 96 × 96. After Caron et al., "Emerging Properties in Self-Supervised Vision
Transformers" (ICCV 2021), with a small convolutional network in place of the transformer. Killed at any moment and
started again, it continues with the very next batch.
"""

import argparse
import copy
import os
from pathlib import Path
from typing import Any

import torch  # pyright: ignore[reportMissingImports]
import torch.distributed as dist  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]

import penstock

#: How sharp the distributions of teacher and student are.
TEACHER_T, STUDENT_T = 0.04, 0.1
#: How slowly the teacher follows the student, and the centre the teacher's outputs.
FOLLOW, CENTRE = 0.996, 0.9


class Network(nn.Module):  # type: ignore[misc]
    """Convolutions, the mean over all places, and a head; views of any size."""

    def __init__(self, width: int, outputs: int) -> None:
        """Take the filters of the first layer, and how many numbers describe an image."""
        super().__init__()
        layers: list[Any] = []
        for channels, filters in ((3, width), (width, 2 * width), (2 * width, 4 * width), (4 * width, 8 * width)):
            layers += [nn.Conv2d(channels, filters, 3, 2, 1, bias=False), nn.GroupNorm(1, filters), nn.GELU()]
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Sequential(nn.Linear(8 * width, 8 * width), nn.GELU(), nn.Linear(8 * width, outputs))

    def forward(self, views: list[torch.Tensor]) -> torch.Tensor:
        """Return the logits of lists of views, one size at a time: (views · n, outputs)."""
        return self.head(torch.cat([self.body(view.float() / 127.5 - 1) for view in views]))


def by_size(batch: dict[str, torch.Tensor], names: list[str]) -> list[torch.Tensor]:
    """Return views of one size as one tensor: the large ones, then the small ones."""
    sizes = dict.fromkeys(batch[name].shape[2:] for name in names)
    return [torch.cat([batch[name] for name in names if batch[name].shape[2:] == size]) for size in sizes]


def loss_of(student: torch.Tensor, teacher: torch.Tensor, centre: torch.Tensor, images: int) -> torch.Tensor:
    """Return how differently the student sees each view from what the teacher sees in another one."""
    wanted = ((teacher - centre) / TEACHER_T).softmax(-1).split(images)
    seen = (student / STUDENT_T).log_softmax(-1).split(images)
    pairs = [-(one * other).sum(-1).mean() for i, one in enumerate(wanted) for j, other in enumerate(seen) if i != j]
    return torch.stack(pairs).mean()


def main() -> None:
    """Train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sink", help="address of a running stack's sink; its keys: PENSTOCK_KEYS")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--width", type=int, default=64, help="filters of the first layer")
    parser.add_argument("--outputs", type=int, default=4096)
    parser.add_argument("--rate", type=float, default=5e-4)
    parser.add_argument("--save-every", type=int, default=200, metavar="BATCHES")
    parser.add_argument("--run", type=Path, default=Path("run"))
    options = parser.parse_args()

    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if torch.cuda.is_available() else "cpu"
    if "LOCAL_RANK" in os.environ:  # torchrun started this
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    with penstock.connect(options.sink, "train") as feed:
        training = Training(feed, torch.device(device), options)
        training.restore()
        for epoch in range(feed.upcoming_epoch(), options.epochs):
            loss, found = training.epoch()
            if feed.rank == 0:
                print(f"epoch {epoch}: loss {loss:.3f}, {found:.0%} found, waited {feed.stats.wait_fraction:.0%}")
    if dist.is_initialized():
        dist.destroy_process_group()


class Training:
    """Student and teacher, what optimises the student, the loader, and the file that all of them are saved in."""

    def __init__(self, feed: penstock.Feed, device: torch.device, options: argparse.Namespace) -> None:
        """Make them."""
        torch.manual_seed(0)
        self.options, self.feed = options, feed
        self.names = [field.name for field in feed.schema if field.axes]
        self.loader = feed.torch(device, fields=tuple(self.names))
        network: Any = Network(options.width, options.outputs).to(device)
        self.teacher = copy.deepcopy(network).requires_grad_(requires_grad=False)
        self.student = nn.parallel.DistributedDataParallel(network) if dist.is_initialized() else network
        self.optimizer = torch.optim.AdamW(self.student.parameters(), options.rate, weight_decay=0.04)
        self.centre = torch.zeros(options.outputs, device=device)
        self.file = options.run / "dino.pt"

    def epoch(self) -> tuple[float, float]:
        """Train up to the end of the epoch; return the mean loss, and for how many images the other view was found."""
        losses, found = [], []
        for step, views in enumerate(self.loader, 1):
            loss, right = self.step(dict(zip(self.names, views, strict=True)))
            losses.append(loss)
            found.append(right)
            if step % self.options.save_every == 0:
                self.save()
        self.save()
        return float(torch.stack(losses).mean()), float(torch.stack(found).mean())

    def step(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Train on one batch; return the loss, and of how many images the two large views are next to each other."""
        images = len(batch[self.names[0]])
        large = [name for name in self.names if name.startswith("global")]
        with torch.no_grad():
            wanted = self.teacher(by_size(batch, large))
        loss = loss_of(self.student(by_size(batch, self.names)), wanted, self.centre, images)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        mean = wanted.mean(0)
        if dist.is_initialized():
            dist.all_reduce(mean)
            mean /= dist.get_world_size()
        first, second = nn.functional.normalize(wanted - self.centre, dim=1).split(images)
        nearest = (first @ second.T).argmax(1) == torch.arange(images, device=mean.device)
        self.centre.lerp_(mean, 1 - CENTRE)
        student = getattr(self.student, "module", self.student)
        with torch.no_grad():
            for ours, theirs in zip(self.teacher.parameters(), student.parameters(), strict=True):
                ours.lerp_(theirs, 1 - FOLLOW)
        return loss.detach(), nearest.float().mean()

    def save(self) -> None:
        """Save everything in one file, which is replaced when it is complete; rank 0's state resumes every rank."""
        if self.feed.rank == 0:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            states = {name: getattr(self, name).state_dict() for name in ("teacher", "optimizer", "loader")}
            states["student"] = getattr(self.student, "module", self.student).state_dict()
            torch.save({**states, "centre": self.centre}, self.file.with_suffix(".new"))
            self.file.with_suffix(".new").replace(self.file)

    def restore(self) -> None:
        """Load the file, if there is one."""
        if self.file.exists():
            states = torch.load(self.file, map_location=self.centre.device, weights_only=True)
            getattr(self.student, "module", self.student).load_state_dict(states["student"])
            for name in ("teacher", "optimizer", "loader"):
                getattr(self, name).load_state_dict(states[name])
            self.centre.copy_(states["centre"])


if __name__ == "__main__":
    main()
