"""What several simulated ventilators share: a folder of records, whose every access happens at one moment."""

from dataclasses import replace

from penstock.protocol.messages import AnyMessage
from penstock.ventilator.standby.candidate import Claim, Job, Look, Record, Renew, Seen


class SharedFolder:
    """What `record_files.py` keeps in files, as `candidate.py` sees it."""

    def __init__(self) -> None:
        """Begin empty."""
        self.records: dict[int, Record] = {}
        self._waiting: dict[str, Record] = {}
        #: Until when no access succeeds (s).
        self.away_until = 0.0

    def do(self, job: Job) -> Seen:
        """Do a job."""
        match job:
            case Look(waiting):
                self._waiting[waiting.holder] = waiting
                return self._look()
            case Claim(number, record) if number not in self.records:
                self.records[number] = record
                self._waiting.pop(record.holder, None)
            case Renew(number, record, over) if number in self.records:
                self.records[number] = record
                for holder in over:
                    self._waiting.pop(holder, None)
            case _:
                return self._look()
        seen = self._look()
        return replace(seen, done=seen.number == job.number)

    def _look(self) -> Seen:
        number = max(self.records, default=0)
        record = self.records.get(number)
        return Seen(number, repr(record).encode(), record, tuple(self._waiting.values()))


class Terms:
    """The term in which each message of a ventilator was sent: what a sink or worker takes in must not be older."""

    def __init__(self) -> None:
        """Begin without any."""
        self._sent: dict[int, tuple[AnyMessage, int]] = {}

    def note(self, message: AnyMessage, term: int) -> None:
        """Note the term of the ventilator that sends a message."""
        self._sent[id(message)] = (message, term)

    def of(self, message: AnyMessage) -> int | None:
        """Return the term in which a message was sent; None for one that went through its bytes."""
        known = self._sent.get(id(message))
        return known[1] if known else None
