"""A run of the snippet that may be killed at any moment: `killed_run.py ADDRESS FOLDER`.

Each step appends the sum of its batch to the file `seen`; a run that ends writes its weights to `weights.json`.
"""

import json
import sys
from pathlib import Path
from typing import Any

from support.trainers.snippets import Network, torch, train_network


class Noting(Network):
    """A network that writes down each batch, before the optimizer has changed anything."""

    def __init__(self, file: Path) -> None:
        super().__init__(cut=-1, dropout=0.5)
        self.file = file

    def forward(self, images: Any) -> Any:
        """Return the logits."""
        logits = super().forward(images)
        with self.file.open("a", encoding="utf-8") as file:
            file.write(f"{self.seen[-1]}\n")
        return logits


def main(address: str, folder: Path) -> None:
    """Train to the end."""
    network = train_network(Noting(folder / "seen"), "composer", address, folder / "kept", seed=7, device="cpu")
    weights = torch.nn.utils.parameters_to_vector(network.parameters()).tolist()
    (folder / "weights.json").write_text(json.dumps(weights), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
