"""A training program for the trainer's container: writes down what it gets, batch by batch, and goes on after a kill.

python recording_trainer.py FOLDER EPOCHS HOLD

`FOLDER/batches.jsonl` gets a line a batch (its position and the digest of its bytes), complete before the next batch is
asked for. After HOLD lines it waits until there is a file `FOLDER/go`, so that it is not done before it is killed. Uses
Penstock as a user's program does, and nothing of the tests.
"""

import hashlib
import json
import os
import sys
import time
from pathlib import Path

import numpy as np

import penstock


def main() -> None:
    """Go on after the last line."""
    folder, epochs, hold = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    path = folder / "batches.jsonl"
    feed = penstock.connect("tcp://sink:5557", "train", prefetch=2)
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    whole = text[: text.rfind("\n") + 1]  # a kill may have cut the last line off: its batch comes again
    path.write_text(whole, encoding="utf-8")
    lines = whole.splitlines()
    if lines:
        feed.load_state_dict(json.loads(lines[-1])["state"])
    written = len(lines)
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
                written += 1
                while written == hold and not (folder / "go").exists():
                    time.sleep(0.05)
    sys.stdout.write("done\n")


if __name__ == "__main__":
    main()
