"""A training program for tests: reads as many batches as it is told to, line by line, and says what it has so far.

Run as `python trainer.py ADDRESS KEYS [RANK WORLD_SIZE [PREFETCH]]`; needs the tests' folder on PYTHONPATH.
"""

import json
import sys

from support.streams import Batch, digest, take

import penstock

got: list[Batch] = []
rank, world_size = (int(sys.argv[3]), int(sys.argv[4])) if len(sys.argv) > 3 else (0, 1)
prefetch = int(sys.argv[5]) if len(sys.argv) > 5 else None
with penstock.connect(
    sys.argv[1], rank=rank, world_size=world_size, prefetch=prefetch, keys=sys.argv[2], timeout_s=120.0
) as feed:
    for line in sys.stdin:
        got += take(feed, int(line))
        print(json.dumps({"batches": len(got), "digest": digest(got)}), flush=True)  # noqa: T201 - how it answers
