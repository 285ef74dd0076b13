"""One rank of a DDP training that may be killed at any moment: `kept_training.py ADDRESS FOLDER`, started by torchrun.

After each step both ranks write down, by the position after it, which items they trained on; then rank 0 saves the
model and the position in one file. A rank that starts finds that file. Steps that were trained on and not saved are
trained on again, and must see the same items. Ends with the epoch in which a file `enough` appears in the folder.
"""

import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch  # pyright: ignore[reportMissingImports]
import torch.distributed as dist  # pyright: ignore[reportMissingImports]

import penstock

#: Longest that a rank waits for another one, or for a batch (s).
WAIT_S = 60


def main(address: str, folder: Path) -> None:
    """Train until there is enough."""
    dist.init_process_group("gloo", timeout=timedelta(seconds=WAIT_S))
    torch.manual_seed(1)
    model: Any = torch.nn.parallel.DistributedDataParallel(
        torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten(), torch.nn.Linear(48, 2))
    )
    file = folder / "checkpoint.pt"
    with penstock.connect(address, "train", timeout_s=WAIT_S) as feed:
        loader = feed.torch()
        if file.exists():
            states = torch.load(file, weights_only=True)
            model.module.load_state_dict(states["model"])
            loader.load_state_dict(states["loader"])
        enough = torch.zeros(1)
        while not enough:
            for batch in loader:
                loss = torch.nn.functional.cross_entropy(model(batch["image"].float() / 255), batch["label"].long())
                model.zero_grad()
                loss.backward()
                with torch.no_grad():  # not torch.optim: its first step imports for seconds
                    for parameter in model.parameters():
                        parameter.sub_(0.01 * parameter.grad)
                state = loader.state_dict()
                write_down(folder / "steps", state["position"], feed.rank, batch)
                dist.barrier()
                if feed.rank == 0:
                    torch.save({"model": model.module.state_dict(), "loader": state}, file.with_suffix(".new"))
                    file.with_suffix(".new").replace(file)
                    (folder / "position.new").write_text(str(state["position"]))
                    (folder / "position.new").replace(folder / "position")
            enough.fill_((folder / "enough").exists())
            dist.broadcast(enough, 0)
    dist.destroy_process_group()


def write_down(folder: Path, position: int, rank: int, batch: dict[str, Any]) -> None:
    """Write the items of a step; note a contradiction if it was trained on before with others."""
    items, sums = batch["item"].tolist(), int(batch["image"].long().sum())
    file = folder / f"{position:09}-{rank}.json"
    text = json.dumps({"items": items, "sum": sums})
    if file.exists() and file.read_text() != text:
        (folder / f"contradiction-{position}-{rank}").write_text(f"{file.read_text()}\n{text}")
    file.with_suffix(f".new{rank}").write_text(text)
    file.with_suffix(f".new{rank}").replace(file)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
