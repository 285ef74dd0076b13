"""A training program for the engines' tests: writes down what it gets, and goes on after any end.

python recording_trainer.py FOLDER EPOCHS [HOLD ...]

`FOLDER/rank-N.jsonl` gets a line a batch (the digest of its bytes and the position after it), complete before the next
batch is asked for. After each HOLD lines, at its start too, it waits until there is a file `FOLDER/go-HOLD`. On SIGUSR1
it ends after the batch that it has. Uses Penstock as a user's program does, and nothing of the tests. Ranks of Ray
Train use its parts.
"""

import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

import penstock


class Recorder:
    """The lines of this rank."""

    def __init__(self, folder: Path, holds: list[int], rank: int) -> None:
        """Read what an earlier process of this rank wrote."""
        self._folder, self._holds = folder, holds
        self._path = folder / f"rank-{rank}.jsonl"
        self._asked = False
        text = self._path.read_text(encoding="utf-8") if self._path.exists() else ""
        whole = text[: text.rfind("\n") + 1]  # a kill may have cut the last line off: its batch comes again
        self._path.write_text(whole, encoding="utf-8")
        self.lines = [json.loads(line) for line in whole.splitlines()]

    def add(self, digest: str, state: dict[str, object]) -> None:
        """Write a line; end the program if it was asked to, or wait for the test."""
        self.lines.append({"digest": digest, "state": state})
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(self.lines[-1]) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._wait()
        if self._asked:
            sys.stdout.write(f"asked to end after {len(self.lines)} batches\n")
            sys.exit(0)

    def record(self, feed: penstock.Feed, epochs: int) -> None:
        """Read on after the last line, to the end of so many epochs."""
        if self.lines:
            feed.load_state_dict(self.lines[-1]["state"])
            self._wait()
        while feed.epoch < epochs:
            for batch in feed:
                sha = hashlib.sha256()
                for name in sorted(batch):
                    sha.update(f"{name} {batch[name].dtype} {batch[name].shape};".encode())
                    sha.update(np.ascontiguousarray(batch[name]).tobytes())
                self.add(sha.hexdigest(), feed.state_dict())

    def _wait(self) -> None:
        go = self._folder / f"go-{len(self.lines)}"
        while not self._asked and len(self.lines) in self._holds and not go.exists():
            time.sleep(0.05)

    def ask(self, *_: object) -> None:
        """End the program after the batch that it has."""
        self._asked = True


def main() -> None:
    """Go on after the last line."""
    folder, epochs, holds = Path(sys.argv[1]), int(sys.argv[2]), [int(each) for each in sys.argv[3:]]
    recorder = Recorder(folder, holds, int(os.environ.get("SLURM_PROCID", "0")))
    signal.signal(signal.SIGUSR1, recorder.ask)
    recorder.record(penstock.connect(prefetch=2), epochs)
    sys.stdout.write("done\n")


if __name__ == "__main__":
    main()
