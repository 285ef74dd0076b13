"""A training program for a pod: writes down what it gets, as many batches as it may, and goes on after its pod's end.

python stepping_trainer.py FOLDER ADDRESS RANK RANKS

`FOLDER/batches.jsonl` gets a line a batch (its position and the digest of its bytes), complete before the next batch is
asked for. `FOLDER/wanted` holds how many lines there may be: it writes no more. Uses Penstock as a user's program.
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
    folder, address = Path(sys.argv[1]), sys.argv[2]
    rank, ranks = map(int, sys.argv[3:])
    path, wanted = folder / "batches.jsonl", folder / "wanted"
    keys = "/run/penstock/keys"
    feed = penstock.connect(address, "train", rank=rank, world_size=ranks, prefetch=2, keys=keys, timeout_s=240)
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    whole = text[: text.rfind("\n") + 1]  # a kill may have cut the last line off: its batch comes again
    path.write_text(whole, encoding="utf-8")
    lines = whole.splitlines()
    if lines:
        feed.load_state_dict(json.loads(lines[-1])["state"])
    written = len(lines)
    with path.open("a", encoding="utf-8") as file:
        while True:
            for batch in feed:
                while written >= int(wanted.read_text(encoding="utf-8")):
                    time.sleep(0.05)
                sha = hashlib.sha256()
                for name in sorted(batch):
                    sha.update(f"{name} {batch[name].dtype} {batch[name].shape};".encode())
                    sha.update(np.ascontiguousarray(batch[name]).tobytes())
                file.write(json.dumps({"digest": sha.hexdigest(), "state": feed.state_dict()}) + "\n")
                file.flush()
                os.fsync(file.fileno())
                written += 1


if __name__ == "__main__":
    main()
