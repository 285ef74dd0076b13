"""Decides whether this ventilator acts, of several that share a folder: never two at once, and one before long.

No I/O. Theory of operation. The folder holds numbered records. A number is claimed by creating its record, which only
one candidate can do; the highest number acts. The one that acts renews its record, and stops by its own clock if a
renewal is not done within `VALID` of `takeover_s`. It never resumes after that: it has to claim a new number. A
candidate that waits reads the highest record again and again. If a read that began `takeover_s` after the last change
was seen brings the same content, the renewals have ended for good, because one that was done in time would have been
read. Then the next number is claimed. So clocks of two hosts are never compared: they only have to run about equally
fast.

A process that was stopped may send one more message after it has lost its number. Its peers drop it by the *term*,
which grows with each claim (`protocol/runtime/following.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

#: Fractions of `takeover_s`: for how long a renewal lets its holder act, how often it renews, how often others read.
#: What VALID leaves is the difference between two clocks' speeds that does no harm.
VALID, _RENEW, _LOOK = 0.7, 0.2, 0.1
#: How many times `takeover_s` the record of one that waits may stay unchanged until it is removed: it has ended.
_FORGET = 15


@dataclass(frozen=True, slots=True)
class Record:
    """What a ventilator writes about itself: into the record of its number, or while it waits."""

    #: Fresh for each start of a ventilator.
    holder: str
    #: Host and process, and the address at which it listens: for people.
    name: str = ""
    address: str = ""
    #: Seconds without a change after which others may claim the next number.
    takeover_s: float = 4.0
    #: Orders those that acted, one after the other.
    term: int = 0
    #: Grows with each renewal.
    beat: int = 0
    #: Whether its holder has left, so that the next number can be claimed at once.
    released: bool = False
    #: Of one that waits: whether a worker or sink has greeted it lately, so that it would be reached.
    greeted: bool = False


@dataclass(frozen=True, slots=True)
class Look:
    """Read the highest record; write `waiting` as the record of one that waits."""

    waiting: Record


@dataclass(frozen=True, slots=True)
class Claim:
    """Create the record with this number, unless there is one."""

    number: int
    record: Record


@dataclass(frozen=True, slots=True)
class Renew:
    """Write the record with this number anew; it has to be there."""

    number: int
    record: Record
    #: Those that waited and have ended: their records are removed. One that lives writes its own again.
    over: tuple[str, ...] = ()


Job = Look | Claim | Renew


@dataclass(frozen=True, slots=True)
class Seen:
    """What the folder holds: the outcome of every job."""

    #: The highest number; 0: there is none.
    number: int = 0
    #: Its record's bytes, and what they say; None if they cannot be read as a record.
    content: bytes = b""
    record: Record | None = None
    #: What those that wait have written.
    waiting: tuple[Record, ...] = ()
    #: Of a claim: whether the record was created, and its number is the highest. Of a renewal: whether it is written.
    done: bool = False


@dataclass(frozen=True, slots=True)
class Waiting:
    """One that waits, as another one knows it."""

    name: str
    #: Seconds since a change of its record was seen, and whether that is recent enough for one that lives.
    heard_s: float
    alive: bool
    #: Whether a worker or sink reaches it.
    greeted: bool = False


@dataclass(frozen=True, slots=True)
class Standing:
    """What the status shows of this."""

    acting: bool
    #: The term while it acts, or of the last one that acted as far as this one knows.
    term: int
    #: The highest number that was claimed: how often one began to act.
    number: int
    #: Who acts, as far as this one knows; empty: none, or it is not known.
    holder: str
    #: Those that wait, and those that waited and are silent.
    waiting: tuple[Waiting, ...]
    #: Why this one does not act, or has stopped to.
    why: str


@dataclass(slots=True)
class _Watched:
    """A content that changes as long as its writer lives."""

    content: object = None
    changed_at: float = 0.0

    def look(self, content: object, at: float) -> None:
        if content != self.content:
            self.content, self.changed_at = content, at


@dataclass(slots=True)
class Candidate:
    """One ventilator of several; every `now` is seconds of a clock that also runs while the process is stopped."""

    own: Record
    #: Until when this one acts; in the past: it does not. Read before each send.
    acts_until: float = float("-inf")
    #: Until when this one says, while it waits, that workers or sinks reach it.
    greeted_until: float = float("-inf")
    #: The term while it acts; 0 while it waits.
    term: int = 0
    _number: int = 0
    #: The highest term that was read.
    _last_term: int = 0
    _seen: Seen = field(default_factory=Seen)
    _highest: _Watched = field(default_factory=_Watched)
    _others: dict[str, _Watched] = field(default_factory=dict)
    _due: float = float("-inf")
    _beat: int = 0
    _may_claim: bool = False
    #: The number that it gave up for another one, and until when it leaves the next one to that.
    _handed_over: int = 0
    _yields_until: float = float("-inf")
    _why: str = "the folder is not read yet"

    @property
    def due(self) -> float:
        """When to ask for the next job."""
        return self._due

    def holds(self, now: float) -> bool:
        """Return whether this one acts; once that has ended, it acts only with a new term."""
        if self.term and now >= self.acts_until:
            self._stop(f"its record was not renewed within {VALID * self.own.takeover_s:.1f} s")
        return self.term > 0

    def job(self, now: float, day_s: int) -> Job:
        """Return what is to be done with the folder now; `day_s` is the time of day (s since 1970).

        It only makes terms grow if the folder was emptied.
        """
        self._beat += 1
        if self.holds(now):
            return Renew(self._number, replace(self.own, term=self.term, beat=self._beat), self._over(now))
        if self._may_claim:
            term = max(self._last_term + 1, day_s)
            return Claim(self._seen.number + 1, replace(self.own, term=term, beat=self._beat))
        return Look(replace(self.own, beat=self._beat, greeted=now < self.greeted_until))

    def took(self, job: Job, seen: Seen, began: float, ended: float) -> None:
        """Handle the outcome of a job, which took from `began` to `ended`."""
        step = _LOOK if isinstance(job, Look) else _RENEW
        self._due = began + step * self.own.takeover_s
        self._note_waiting(seen.waiting, ended)
        match job:
            case Renew():
                self._renewed(job, seen, began, ended)
            case Claim() if seen.done and ended < began + VALID * self.own.takeover_s:
                self.term, self._number = job.record.term, job.number
                self.acts_until = self._valid_from(began)  # last: another thread reads this first, and then the term
                self._last_term = max(self._last_term, self.term)
                self._seen, self._why, self._may_claim = replace(seen, record=job.record), "", False
            case Claim():  # another one was first, or it took too long
                self._may_claim, self._due = False, ended + _LOOK * self.own.takeover_s
            case Look():
                self._looked(seen, began, ended)

    def failed(self, job: Job, why: str, ended: float) -> None:
        """Handle a job that could not be done; whether any of it was done is not known."""
        self._may_claim = False
        self._due = ended + _LOOK * self.own.takeover_s
        if not isinstance(job, Renew):
            self._why = why
        self.holds(ended)

    def release(self) -> Renew | None:
        """Stop to act; return what tells the others."""
        if not self.term:
            return None
        job = Renew(self._number, replace(self.own, term=self.term, beat=self._beat + 1, released=True))
        self._stop("it leaves")
        return job

    def hand_over(self, now: float) -> Renew | None:
        """Stop to act as one that leaves, but stay: another one claims the next number, or this one after a while."""
        number = self._number
        if job := self.release():
            self._handed_over, self._yields_until = number, now + 2 * self.own.takeover_s
            self._why = "no worker and no sink reached it, so that it handed over"
        return job

    def another_is_reached(self, now: float) -> bool:
        """Return whether workers or sinks reach one that waits, and lives."""
        return any(each.alive and each.greeted for each in self.standing(now).waiting)

    def standing(self, now: float) -> Standing:
        """Return what the status shows."""
        acting, record = self.holds(now), self._seen.record
        holder = f"{record.name} at {record.address}" if record and not self._may_claim else ""
        if not acting and record and record.holder == self.own.holder:
            holder = ""
        waiting: list[Waiting] = []
        for other in self._seen.waiting:
            if other.holder != self.own.holder:
                silent_s = self._silent_s(other, now)
                waiting.append(Waiting(other.name, silent_s, silent_s < self._patience_s(other), other.greeted))
        waiting.sort(key=lambda each: (not each.alive, each.name))
        number = self._number or self._seen.number
        return Standing(acting, self.term or self._last_term, number, holder, tuple(waiting), self._why)

    def validate(self, now: float) -> None:
        """Raise AssertionError if an invariant does not hold."""
        assert bool(self.term) == bool(self._number), f"term {self.term} with number {self._number}"  # noqa: S101
        assert not (self.term and self._may_claim), "it acts, and would claim"  # noqa: S101
        assert self.acts_until <= now + self.own.takeover_s or not self.term, "it acts for too long"  # noqa: S101

    def _valid_from(self, began: float) -> float:
        return began + VALID * self.own.takeover_s

    def _stop(self, why: str) -> None:
        self._number, self.term, self.acts_until = 0, 0, float("-inf")
        self._why, self._due = why, float("-inf")

    def _renewed(self, job: Renew, seen: Seen, began: float, ended: float) -> None:
        if not self.holds(ended) or job.number != self._number:
            return
        if not seen.done:
            self._stop("another one has claimed the next number")
        else:
            self.acts_until = self._valid_from(began)
            self._seen = replace(seen, record=job.record)

    def _looked(self, seen: Seen, began: float, ended: float) -> None:
        self._seen = seen
        before = self._highest.content
        self._highest.look((seen.number, seen.content), ended)
        record = seen.record
        same = before == self._highest.content and began >= self._highest.changed_at + self._patience_s(record)
        # A record of this very process is one by which it does not act any more.
        left = record is not None and (record.released or record.holder == self.own.holder)
        if seen.number == self._handed_over and began < self._yields_until:
            left = same = False
        self._may_claim = seen.number == 0 or left or same
        self._last_term = max(self._last_term, record.term if record else 0)
        if self._may_claim:
            self._due = ended
        elif record and record.holder != self.own.holder:
            self._why = f"{record.name} acts"

    def _note_waiting(self, waiting: Sequence[Record], at: float) -> None:
        self._others = {record.holder: self._others.get(record.holder, _Watched()) for record in waiting}
        for record in waiting:
            self._others[record.holder].look(record.beat, at)

    def _silent_s(self, record: Record, now: float) -> float:
        watched = self._others.get(record.holder)
        return max(0.0, now - watched.changed_at) if watched else 0.0

    def _patience_s(self, record: Record | None) -> float:
        return max(self.own.takeover_s, record.takeover_s if record else 0.0)

    def _over(self, now: float) -> tuple[str, ...]:
        """Return those that waited and have been silent for so long that they have ended."""
        others = (record for record in self._seen.waiting if record.holder != self.own.holder)
        return tuple(each.holder for each in others if self._silent_s(each, now) >= _FORGET * self._patience_s(each))
