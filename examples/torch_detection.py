"""Train a small detector with PyTorch on images with boxes: which class lies where, in one look (after FCOS).

    penstock up examples/detection.toml --root photos=/your/coco          # once: the workers
    python examples/torch_detection.py tcp://127.0.0.1:5557

The workers read the annotations and move the boxes with the images. A batch has `boxes` (n, most, 4) as left, top,
right, bottom in pixels, `boxes_label` (n, most) and `boxes_count` (n,): of each row, the first so many are boxes.
Killed at any moment and started again, the training continues with the very next batch.
"""

import argparse
from pathlib import Path
from typing import Any

import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]

import penstock

#: Pixels between the places that the network looks at.
STRIDE = 8
#: A box that was found covers at least this much of what it and the true one cover together.
ENOUGH = 0.5


class Detector(nn.Module):  # type: ignore[misc]
    """Four convolutions; at each place the chances of each class, and how far its box reaches in four directions."""

    def __init__(self, classes: int, width: int) -> None:
        """Take the number of classes, and of filters."""
        super().__init__()
        layers: list[nn.Module] = []
        for channels, filters, stride in (
            (3, width, 2),
            (width, width, 2),
            (width, 2 * width, 2),
            (2 * width,) * 2 + (1,),
        ):
            convolution = nn.Conv2d(channels, filters, 3, stride, 1, bias=False)
            layers += [convolution, nn.BatchNorm2d(filters), nn.ReLU(inplace=True)]
        self.body = nn.Sequential(*layers)
        self.chances, self.reaches = nn.Conv2d(2 * width, classes, 1), nn.Conv2d(2 * width, 4, 1)
        nn.init.constant_(self.chances.bias, -4.0)  # nearly all places show nothing

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits (n, places, classes) and boxes (n, places, 4) for images as they come from the workers."""
        seen = self.body(images.float() / 127.5 - 1)
        reaches = nn.functional.softplus(self.reaches(seen)).flatten(2).transpose(1, 2) * STRIDE
        middles = places(seen.shape[2], seen.shape[3], seen.device)
        boxes = torch.cat([middles - reaches[..., :2], middles + reaches[..., 2:]], -1)
        return self.chances(seen).flatten(2).transpose(1, 2), boxes


def places(rows: int, columns: int, device: torch.device) -> torch.Tensor:
    """Return the pixels (x, y) that the network looks at, (places, 2)."""
    y, x = torch.meshgrid(torch.arange(rows, device=device), torch.arange(columns, device=device), indexing="ij")
    return (torch.stack([x, y], -1).flatten(0, 1) + 0.5) * STRIDE


def overlap(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Return what boxes cover together as a part of what they cover: 0 to 1."""
    sides = torch.minimum(first[..., 2:], second[..., 2:]) - torch.maximum(first[..., :2], second[..., :2])
    both = sides.clamp(min=0).prod(-1)
    areas = [(boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1) for boxes in (first, second)]
    return both / (areas[0] + areas[1] - both).clamp(min=1e-6)


def assigned(middles: torch.Tensor, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the class of each place (-1: none) and its box: the smallest that it lies in, (n, places) and (…, 4)."""
    boxes = batch["boxes"][:, None]
    inside = ((middles[:, None] > boxes[..., :2]) & (middles[:, None] < boxes[..., 2:])).all(-1)
    inside &= torch.arange(boxes.shape[2], device=boxes.device) < batch["boxes_count"][:, None, None]
    areas = (boxes[..., 2:] - boxes[..., :2]).prod(-1).masked_fill(~inside, torch.inf)
    smallest = areas.argmin(-1)
    labels = batch["boxes_label"].long().gather(1, smallest)
    return labels.masked_fill(~inside.any(-1), -1), batch["boxes"].gather(1, smallest[..., None].expand(-1, -1, 4))


def loss_of(model: nn.Module, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the loss of a batch, and of how many images the surest place has the right class and box."""
    logits, boxes = model(batch["image"])
    rows, columns = (side // STRIDE for side in batch["image"].shape[2:])
    labels, truth = assigned(places(rows, columns, logits.device), batch)
    shown = labels >= 0
    wanted = nn.functional.one_hot(labels.clamp(min=0), logits.shape[-1]) * shown[..., None]
    chances, fits = logits.sigmoid(), overlap(boxes, truth)
    surprise = nn.functional.binary_cross_entropy_with_logits(logits, wanted.float(), reduction="none")
    focal = surprise * (chances - wanted).abs().square()
    loss = (focal.sum() + (1 - fits[shown]).sum()) / shown.sum().clamp(min=1)
    surest = chances.flatten(1).argmax(1)
    place, label = surest // logits.shape[-1], surest % logits.shape[-1]
    images = torch.arange(len(place), device=place.device)
    return loss, ((labels[images, place] == label) & (fits[images, place] >= ENOUGH)).float().mean()


def main() -> None:
    """Train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sink", help="address of a running stack's sink; its keys: PENSTOCK_KEYS")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--width", type=int, default=64, help="filters of the first layer")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--save-every", type=int, default=200, metavar="BATCHES")
    parser.add_argument("--run", type=Path, default=Path("run"))
    options = parser.parse_args()

    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    file = options.run / "detection.pt"
    with penstock.connect(options.sink, "train") as feed:
        loader = feed.torch(device)
        boxes: Any = feed.plan.settings.targets["boxes"]
        model = Detector(len(boxes.classes), options.width).to(device)
        optimizer = torch.optim.AdamW(model.parameters(), options.rate)
        parts: dict[str, Any] = {"model": model, "optimizer": optimizer, "loader": loader}
        if file.exists():
            for name, state in torch.load(file, map_location=device, weights_only=True).items():
                parts[name].load_state_dict(state)
        for epoch in range(feed.upcoming_epoch(), options.epochs):
            losses, found = [], []
            for number, batch in enumerate(loader, 1):
                loss, right = loss_of(model, batch)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                losses.append(loss.detach())
                found.append(right)
                if number % options.save_every == 0:
                    save(file, parts)
            save(file, parts)
            mean, part = (float(torch.stack(numbers).mean()) for numbers in (losses, found))
            print(f"epoch {epoch}: loss {mean:.3f}, {part:.0%} found, waited {feed.stats.wait_fraction:.0%}")


def save(file: Path, parts: dict[str, Any]) -> None:
    """Save model, optimizer and position in one file, which is replaced when it is complete."""
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save({name: part.state_dict() for name, part in parts.items()}, file.with_suffix(".new"))
    file.with_suffix(".new").replace(file)


if __name__ == "__main__":
    main()
