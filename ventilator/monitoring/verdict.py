"""The verdict: which part limits a stack, as a sentence, and what to do about it.

Theory of operation. Credit says which side waits: a trainer without credit is busy, so it is the limit itself; a
trainer with credit and no complete batch waits for the pipeline. Then the workers' time says why: the stage that takes
most of it limits them, and if workers have no tasks while a trainer waits, their results are still on the way. `judge`
is a pure function of the evidence of some seconds; `Judge` keeps a verdict for a while, so that it does not flicker.
"""

import math
from dataclasses import dataclass

from penstock.protocol.snapshot import Cause, Verdict, Word
from penstock.protocol.stats import shorten

#: A trainer that waits for less than this fraction of its time is kept fed; while it is, so much more is tolerated.
FED, _STILL_FED = 0.10, 1.25
#: Fraction of the workers' time above which a stage limits them; also of the items that fail.
MOST = 0.5
#: Seconds without anything delivered after which a task that takes far longer than others counts as hanging.
PATIENCE_S = 10.0
#: Evidence of less than this (s) gives no verdict.
_LEAST_S = 2.0
#: Above this fraction of waiting, the required speed of the pipeline cannot be estimated well.
_MOST_WAIT = 0.95
#: Longest sentence (characters): it quotes names of peers and tasks.
_MOST_CHARACTERS = 1000
#: Seconds that another verdict must hold before it replaces the current one.
HOLD_S = 3.0


@dataclass(frozen=True, slots=True)
class Hanging:
    """A task that takes far longer than others."""

    worker: str
    what: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """The evidence of the last seconds: sums over `seconds`, unless a comment says "now"."""

    seconds: float
    #: Fraction of its time that the trainer that waits most waited, by its own clock; None: no trainer, or not known.
    wait_fraction: float | None = None
    #: Fraction of the time that the sink saw that trainer with credit and without a complete batch.
    starved: float = 1.0
    #: Time that copies to its device took, as a fraction of that trainer's time.
    copy_fraction: float = 0.0
    #: Numbers now: trainers, files being written, workers, workers whose results do not reach the sink; the sink.
    trainers: int = 0
    writers: int = 0
    workers: int = 0
    cut_off: int = 0
    sink: bool = True
    #: Why streams stopped; empty while all run.
    stopped: str = ""
    #: Seconds of the workers: for files, making samples, for the sink, and without a task.
    read_s: float = 0.0
    make_s: float = 0.0
    send_s: float = 0.0
    idle_s: float = 0.0
    #: Of the seconds for making samples, those for decoding images that a cache could keep; and whether one is in use.
    keepable_s: float = 0.0
    cached: bool = False
    #: Items worked on, and those of them that failed; samples that trainers got or files took.
    items: int = 0
    failed: int = 0
    delivered: int = 0
    #: Tasks that are wanted now, and how many of them were made and have not arrived, on average.
    wanted: int = 0
    under_way: float = 0.0
    #: Tasks that were wanted and not made, on average: at most so many workers had something to do.
    open: float = 0.0
    #: Seconds, now, for which the lowest missing task has been the lowest while a trainer waits; a task that hangs.
    head_s: float = 0.0
    hanging: Hanging | None = None
    #: Fraction of the time that files being written held the stream up.
    writer_fraction: float = 0.0


def judge(seen: Evidence, before: Word | None = None) -> Verdict:
    """Return what limits the stack; `before` is the last verdict, which takes a little more evidence to change."""
    if still := _standing_still(seen):
        return still
    wait = seen.wait_fraction
    if wait is None and seen.writers and not seen.trainers:
        wait = 1.0  # without trainers the file takes all that comes
    if wait is None or seen.seconds < _LEAST_S:
        return _verdict(seen, "starting", "the trainer has only begun to read")
    if seen.trainers and wait < FED * (_STILL_FED if before == "trainer-bound" else 1.0):
        return _verdict(
            seen, "trainer-bound", f"{_waited(seen, wait)}; the pipeline keeps it fed, more workers would idle"
        )
    if not seen.delivered and not seen.items and seen.head_s < PATIENCE_S:
        return _verdict(seen, "starting", "the first samples are being made")
    return _held_up(seen, wait)


def _standing_still(seen: Evidence) -> Verdict | None:
    """Return why nothing moves: something is missing, or there is nothing to do. None if neither is so."""
    if not seen.sink:
        return _stall(seen, "no sink", "no sink is here: start one, or see its log")
    if not seen.trainers and seen.stopped:
        return _stall(seen, "stopped stream", seen.stopped)
    if not seen.trainers and not seen.writers:
        return _verdict(seen, "idle", "no trainer reads and no file is written, so nothing is made: connect a trainer")
    if not seen.workers and seen.wanted:
        return _stall(seen, "no worker", f"{seen.wanted} tasks wait and no worker is here: start one, or see its log")
    if seen.delivered or seen.seconds < _LEAST_S:
        return None
    if seen.hanging and seen.head_s >= PATIENCE_S:
        hanging = seen.hanging
        text = f"{hanging.worker} has been {hanging.what} for {hanging.seconds:.0f} s, and all trainers wait for that"
        return _stall(seen, "hanging task", text)
    # Workers may still be at their first item; if none of them has done anything at all, more patience is no use.
    patience_s = 3 * PATIENCE_S if _busy_s(seen) or seen.under_way >= 1 else PATIENCE_S
    if not seen.items and seen.head_s >= patience_s and not seen.cut_off:
        return _stall(seen, "no progress", f"nothing has been made for {seen.head_s:.0f} s: see the workers' logs")
    return None


def _held_up(seen: Evidence, wait: float) -> Verdict:
    """Return why a trainer waits, or what a file that is written waits for."""
    waited = _waited(seen, wait) if seen.trainers else "a file is written as fast as samples come"
    busy_s = _busy_s(seen)
    total_s = busy_s + seen.idle_s
    if seen.writer_fraction > MOST * wait:
        text = f"the file that is written held everything up for {seen.writer_fraction:.0%} of the time: a faster disk"
        return _verdict(seen, "writer-bound", f"{waited}; {text}, or less compression, would help")
    if seen.failed > MOST * seen.items:
        share = seen.failed / max(seen.items, seen.failed)  # a worker may tell of more failures than items
        text = f"{share:.0%} of the items worked on were quarantined: see the ledger, repair or remove them"
        return _verdict(seen, "quarantine-bound", f"{waited}, and {text}")
    if seen.trainers and seen.starved < MOST * wait and seen.copy_fraction > MOST:
        text = f"copies to its device took {seen.copy_fraction:.0%}: smaller samples (uint8, normalised by the trainer)"
        return _verdict(seen, "copy-bound", f"{waited}, and {text}, or larger batches, would help")
    if seen.trainers and seen.starved < MOST * wait:
        text = "its batches are on the way: the network between sink and trainer, or the trainer's own host, is slow"
        return _verdict(seen, "sink-bound", f"{waited}, and {text}")
    if 2 * seen.cut_off > seen.workers:
        text = f"{seen.cut_off} of {seen.workers} workers cannot reach the sink: see their logs"
        return _verdict(seen, "sink-bound", f"{waited}, and {text}")
    if seen.idle_s > MOST * total_s and seen.under_way >= 1:
        text = f"the workers had no task for {seen.idle_s / total_s:.0%} of theirs: their results are on the way"
        return _verdict(
            seen, "sink-bound", f"{waited}, and {text} to the sink, or wait there: the network or the sink is slow"
        )
    if seen.send_s > MOST * busy_s:
        text = f"the workers spent {seen.send_s / busy_s:.0%} of theirs handing results over: the sink, or the network"
        return _verdict(seen, "sink-bound", f"{waited}, and {text} to it, is slow")
    if seen.read_s > MOST * busy_s:
        text = f"the workers spent {seen.read_s / busy_s:.0%} of theirs waiting for files: faster storage would help"
        return _verdict(seen, "read-bound", f"{waited}, and {text}, more workers only if it serves more at once")
    return _worker_bound(seen, wait, waited + _decoding(seen, busy_s))


def _decoding(seen: Evidence, busy_s: float) -> str:
    """Return advice for workers that mostly decode what a cache could keep."""
    if seen.cached or seen.keepable_s <= MOST * busy_s:
        return ""
    share = f" and the workers spent {seen.keepable_s / busy_s:.0%} of theirs decoding"
    return f"{share}, which a cache may save from the second epoch on (penstock check says how much, in how many GB)"


def _worker_bound(seen: Evidence, wait: float, waited: str) -> Verdict:
    # A window that is full because all wait for one slow task says nothing about the window: nothing is delivered.
    room = math.floor(seen.open) - seen.workers if seen.delivered else math.inf
    if room < 1:
        text = f"its window holds tasks for about {max(1, math.floor(seen.open))} workers: more would find none"
        advice = (
            "a larger window_mb (or window_epochs, if the source is small), or smaller tasks (task_items), would help"
        )
        return _verdict(seen, "window-bound", f"{waited}, and {text}; {advice}")
    if not seen.trainers:
        return _verdict(seen, "worker-bound", f"{waited}; more workers, on cores of their own, would make it faster")
    more = missing_workers(seen.workers, wait)
    if more > room:
        text = f"about {room} more of this kind would help, on cores of their own, and then a larger window"
        return _verdict(seen, "worker-bound", f"{waited}; {text}", int(room))
    plural = "" if more == 1 else "s"
    least = "at least" if wait > _MOST_WAIT else "about"
    text = f"{least} {more} more worker{plural} of this kind would keep it fed, on cores of their own"
    return _verdict(seen, "worker-bound", f"{waited}; {text}", more)


def missing_workers(workers: int, wait_fraction: float) -> int:
    """Return how many more workers would keep a trainer fed that waits for this fraction of its time for `workers`.

    It consumes all that they make in the rest of its time, so it could consume 1 / (1 - wait) as much.
    """
    enough = (1 - FED) * workers / (1 - min(wait_fraction, _MOST_WAIT))
    return max(1, math.ceil(enough - 1e-9) - workers)


def _busy_s(seen: Evidence) -> float:
    return seen.read_s + seen.make_s + seen.send_s


def _waited(seen: Evidence, wait: float) -> str:
    who = "the trainer" if seen.trainers == 1 else "the trainer that waits most"
    return f"{who} waited {wait:.0%} of its time"


def _stall(seen: Evidence, cause: Cause, text: str) -> Verdict:
    sentence = shorten(f"stalled: {text}", _MOST_CHARACTERS)
    return Verdict(word="stalled", cause=cause, sentence=sentence, wait_fraction=_bounded(seen))


def _verdict(seen: Evidence, word: Word, text: str, more: int = 0) -> Verdict:
    sentence = shorten(f"{word}: {text}", _MOST_CHARACTERS)
    return Verdict(word=word, sentence=sentence, wait_fraction=_bounded(seen), more_workers=more)


def _bounded(seen: Evidence) -> float | None:
    return None if seen.wait_fraction is None else min(1.0, max(0.0, seen.wait_fraction))


class Judge:
    """Keeps a verdict until another has held for some seconds; its numbers follow at once."""

    def __init__(self, now: float) -> None:
        """Start without a verdict."""
        self.verdict = _verdict(Evidence(0.0), "starting", "nothing is known yet")
        self._since = self._doubted = now
        self._doubt: tuple[Word, Cause] | None = None

    def hear(self, seen: Evidence, now: float) -> Verdict:
        """Return the verdict on the latest evidence."""
        old = self.verdict
        new = judge(seen, old.word)
        name = (new.word, new.cause)
        if name == (old.word, old.cause):
            self._doubt = None
        else:
            if name != self._doubt:
                self._doubt, self._doubted = name, now
            at_once = old.word in ("stalled", "idle") or (old.word == "starting" and new.word != "stalled")
            if not at_once and now - self._doubted < HOLD_S:
                new = old.model_copy(update={"wait_fraction": new.wait_fraction})
            else:
                self._since, self._doubt = now, None
        self.verdict = new.model_copy(update={"for_s": max(0.0, now - self._since)})
        return self.verdict
