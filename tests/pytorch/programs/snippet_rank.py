"""One of two ranks that run a snippet of docs/trainers.md: `snippet_rank.py NAME ADDRESS FOLDER CUT`, by torchrun."""

import json
import os
import sys
from pathlib import Path

from support.trainers.snippets import torch, train

#: What docs/trainers.md says to add for several processes, and what makes output short.
OPTIONS = {
    "lightning": {"devices": 2, "strategy": "ddp", "accelerator": "cpu"},
    "accelerate": {},
    "composer": {"device": "cpu", "progress_bar": False},
}


def main(name: str, address: str, folder: Path, cut: int) -> None:
    """Train, and write what this rank saw."""
    network = train(name, address, folder, cut, **OPTIONS[name])
    weights = torch.nn.utils.parameters_to_vector(network.parameters()).tolist()
    told = {"seen": network.seen, "weights": weights}
    (folder / f"rank{os.environ['RANK']}.json").write_text(json.dumps(told), encoding="utf-8")
    torch.distributed.barrier()  # each rank has taken part in the last step of the others
    if cut >= 0:
        os._exit(0)  # as if it was killed: no framework tidies up
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
