"""A trainer that subscribes again whenever it is refused; prints what its socket dropped when it is asked to stop.

`python trainer.py ADDRESS`; started by `attack.py`, which poses as its sink.
"""

import json
import signal
import sys
from collections import Counter
from types import FrameType

import penstock
from penstock.trainer.client.link import Link
from penstock.trainer.client.session import SubscriptionConfig


def main(address: str) -> int:
    """Take what comes until SIGTERM."""
    stopping = False

    def stop(_: int, __: FrameType | None) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    dropped: Counter[str] = Counter()
    while not stopping:
        link = Link(address, SubscriptionConfig("train", 0, 1, 5, penstock.__version__), 0, "")
        try:
            while not stopping:
                event = link.take(0.1)
                if isinstance(event, penstock.PenstockError):
                    raise event
                if event is not None:
                    link.consumed()
        except penstock.PenstockError as error:
            dropped[f"raised {type(error).__name__}"] += 1
        finally:
            link.close()
            dropped += link._hub.rejects.counts  # no public part of a feed says it
    sys.stdout.write(json.dumps(dropped))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
