"""One rank of a DDP training, started by torchrun: `ranks.py ADDRESS FOLDER`. Not told its rank, nor is the feed."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
import torch.distributed as dist  # pyright: ignore[reportMissingImports]

import penstock


def main(address: str, folder: str) -> None:
    """Train one epoch; write the items that this rank saw, its batches' sizes and the weights at the end."""
    dist.init_process_group("gloo")
    torch.manual_seed(1)
    model: Any = torch.nn.parallel.DistributedDataParallel(
        torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten(), torch.nn.Linear(48, 2))
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    items: list[int] = []
    sizes: list[int] = []
    with penstock.connect(address, "train") as feed:
        for batch in feed.torch():
            loss = torch.nn.functional.cross_entropy(model(batch["image"].float() / 255), batch["label"].long())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            items += batch["item"].tolist()
            sizes.append(len(batch["item"]))
    weights = np.concatenate([parameter.detach().numpy().ravel() for parameter in model.parameters()])
    np.savez(Path(folder) / f"rank{dist.get_rank()}.npz", items=items, sizes=sizes, weights=weights)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
