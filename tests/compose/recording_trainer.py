"""A training program for the trainer's container: writes down what it gets, batch by batch, and goes on after a kill.

python recording_trainer.py FOLDER EPOCHS

`FOLDER/batches.jsonl` gets a line a batch (its position and the digest of its bytes), complete before the next batch is
asked for. Uses Penstock as a user's program does, and nothing of the tests.
"""

import hashlib
import json
import os
import sys
from pathlib import Path

import numpy as np

import penstock


def main() -> None:
    """Go on after the last line."""
    path, epochs = Path(sys.argv[1]) / "batches.jsonl", int(sys.argv[2])
    feed = penstock.connect("tcp://sink:5557", "train", prefetch=2)
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    if lines:
        feed.load_state_dict(json.loads(lines[-1])["state"])
    with path.open("a", encoding="utf-8") as file:
        while feed.epoch < epochs:
            for batch in feed:
                sha = hashlib.sha256()
                for name in sorted(batch):
                    sha.update(f"{name} {batch[name].dtype} {batch[name].shape};".encode())
                    sha.update(np.ascontiguousarray(batch[name]).tobytes())
                file.write(json.dumps({"digest": sha.hexdigest(), "state": feed.state_dict()}) + "\n")
                file.flush()
                os.fsync(file.fileno())
    sys.stdout.write("done\n")


if __name__ == "__main__":
    main()
