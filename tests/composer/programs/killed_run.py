"""A run of the snippet that may be killed at any moment: `killed_run.py ADDRESS FOLDER LAST`.

Each step appends the sum of its batch to the file `seen`; a run that ends writes its weights to `weights.json`. In its
step number `LAST` it waits to be killed, since whoever kills it may get no processor for long; 0: it ends by itself.
"""

import json
import sys
import threading
from pathlib import Path
from typing import Any

from support.trainers.snippets import Network, torch, train_network

#: Longest that a run waits to be killed (s).
DEADLINE_S = 300.0


class Noting(Network):
    """A network that writes down each batch, before the optimizer has changed anything."""

    def __init__(self, file: Path, last: int) -> None:
        super().__init__(cut=-1, dropout=0.5)
        self.file, self.last = file, last

    def forward(self, images: Any) -> Any:
        """Return the logits."""
        logits = super().forward(images)
        with self.file.open("a", encoding="utf-8") as file:
            file.write(f"{self.seen[-1]}\n")
        if len(self.seen) == self.last:
            threading.Event().wait(DEADLINE_S)
            raise TimeoutError(f"not killed within {DEADLINE_S} s")
        return logits


def main(address: str, folder: Path, last: int) -> None:
    """Train to the end, or up to the step `last`."""
    network = train_network(Noting(folder / "seen", last), "composer", address, folder / "kept", seed=7, device="cpu")
    weights = torch.nn.utils.parameters_to_vector(network.parameters()).tolist()
    (folder / "weights.json").write_text(json.dumps(weights), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
