"""Who waited for whom, in words. A pure function of what a feed and its workers measured."""

from collections.abc import Mapping
from dataclasses import dataclass

#: A trainer that waits for less than this fraction of its time is kept fed.
FED = 0.10
#: Workers that spend more than this fraction of their time waiting for files are held up by storage.
READING = 0.50
#: Workers that spend more than this fraction of their time handing results over are held up by what comes after them.
SENDING = 0.50


@dataclass(frozen=True, slots=True)
class Verdict:
    """What limits a run, as one word and as a sentence."""

    word: str
    sentence: str


def judge(wait_fraction: float, spent_s: Mapping[str, float], workers: int) -> Verdict:
    """Return what limited a stream.

    `wait_fraction` is the trainer's waiting as a fraction of its time; `spent_s` the workers' seconds by `read_s`,
    `decode_s`, `transform_s` and `send_s` (the ventilator's /healthz has them).
    """
    total = max(sum(spent_s.values()), 1e-9)
    reading, sending = spent_s.get("read_s", 0.0) / total, spent_s.get("send_s", 0.0) / total
    waited = f"the trainer waited {wait_fraction:.0%} of its time"
    if wait_fraction < FED:
        return Verdict("trainer-bound", f"trainer-bound: {waited}; the pipeline kept it fed, more workers would idle")
    if reading > READING:
        return Verdict(
            "read-bound", f"read-bound: {waited}, and the workers spent {reading:.0%} of theirs on waiting for files"
        )
    if sending > SENDING:
        return Verdict(
            "sink-bound", f"sink-bound: {waited}, and the workers spent {sending:.0%} of theirs on handing results over"
        )
    more = max(1, round(workers * wait_fraction / (1 - min(wait_fraction, 0.9))))
    plural = "" if more == 1 else "s"
    return Verdict(
        "worker-bound",
        f"worker-bound: {waited}; about {more} more worker{plural} would keep it fed, on cores of their own",
    )
