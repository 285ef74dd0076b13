"""Checks results before they enter a store: who made them, whether they fit the plan, and which failures count.

A result is accepted only with the lease of its task (`protocol/lease_proofs.py`). Items and their paths are those that
the ventilator leased, and other text of workers is made printable. `doubts.py` decides about failures, `store.py` keeps
the samples, and `assembly.py` what follows from both.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from penstock.protocol.errors import RemoteProtocolError
from penstock.protocol.event_log import EventLog
from penstock.protocol.instructions import Note
from penstock.protocol.lease_proofs import LeaseProver, digest_of
from penstock.protocol.messages import Failure, LeaseKey, Result
from penstock.protocol.outcomes.doubts import Verdict, Word
from penstock.protocol.runtime.printable import printable
from penstock.protocol.wire import Array
from penstock.sink.core.shared.store import SharedStore
from penstock.sink.core.store import Store
from penstock.sink.core.streams import Streams

#: Ventilators, the latest, whose leases are accepted: what was under way when one restarted is not lost.
_ISSUERS = 4
#: Workers whose contradicted failures are counted by name.
_MOST_NAMES = 1000


@dataclass(frozen=True, slots=True)
class Accepted:
    """What a result brought that was new."""

    word: Word
    verdict: Verdict
    #: Whether anything of it is kept.
    kept: bool
    notes: Sequence[Note]


class Intake:
    """Takes results in for the streams' stores."""

    def __init__(self, streams: Streams, outcomes: Counter[str], contradicted: Counter[str], log: EventLog) -> None:
        """Count results by their `outcomes`, and by worker how many of its failures others `contradicted`."""
        self._streams, self._outcomes, self._contradicted, self._log = streams, outcomes, contradicted, log
        self._provers: dict[str, LeaseProver] = {}

    def meet(self, key: LeaseKey) -> None:
        """Accept the leases of this ventilator from now on; another one than before numbers its workers anew."""
        if key.issuer in self._provers:
            return
        self._provers[key.issuer] = LeaseProver(key)
        if len(self._provers) > _ISSUERS:
            del self._provers[next(iter(self._provers))]
        for doubts in self._streams.doubts.values():
            doubts.clear()

    def result(self, result: Result, arrays: Sequence[Array], now: float) -> Accepted | None:
        """Return what is new in a result; None if it is nothing. Raises RemoteProtocolError if it is not right."""
        name = result.key.stream
        store = self._streams.stores.get(name)
        if store is None:
            self._drop(result, "unwanted", "no stream is known of it", now)
            return None
        if not self._is_leased(result):
            self._drop(result, "stale", "leased by a ventilator that this sink has not met", now)
            return None
        if not self._streams.wants(store, result.key):
            self._drop(result, "unwanted", "no reader wants it", now)
            return None
        if result.plan != store.plan.token:
            raise RemoteProtocolError(
                "plan", f"{result.key}: made by plan {result.plan!r}, this is {store.plan.token!r}"
            )
        if result.shares is not None and not store.shared:
            self._drop(result, "unwanted", "it is for one of several sinks", now)
            return None
        offsets = store.check(result)
        if isinstance(store, SharedStore):
            return self._witness(store, result, arrays, offsets, now)
        if not (lacking := store.lacks(result.key)):
            self._drop(result, "duplicate", "it has come before", now)
            return None
        word = Word((result.lease.issuer, result.lease.holder), printable(result.worker), result.lease.vouched)
        _check_names(result, offsets)
        failures = [
            _clean(failure, word.worker, named=bool(result.lease.names))
            for failure in result.failures
            if failure.offset in lacking
        ]
        verdict = self._streams.doubts[name].judge(result.key.ordinal, offsets, failures, word)
        return self._take(store, result, arrays, verdict, word, now)

    def _is_leased(self, result: Result) -> bool:
        """Return whether a ventilator leased the task to this worker; False if that cannot be known.

        Raises RemoteProtocolError if it did not.
        """
        prover = self._provers.get(result.lease.issuer)
        if prover is None and result.lease.proof:
            return False
        if prover is None or not prover.proves(result.lease, result.key, result.worker):
            raise RemoteProtocolError("lease", f"{result.key}: was not leased to {printable(result.worker)!r}")
        return True

    def _take(
        self, store: Store, result: Result, arrays: Sequence[Array], verdict: Verdict, word: Word, now: float
    ) -> Accepted:
        counted = (*verdict.alone, *verdict.confirmed)
        failed = {failure.offset for failure in result.failures}
        store.add(result.key, failed, counted, arrays)
        kept = bool(counted) or len(failed) < len(store.offsets(result.key))
        if not kept:
            self._outcomes["withheld"] += 1
        words = [f"{len(counted)} items failed"] if counted else []
        words += [f"{len(verdict.withheld)} failures wait for a second worker"] if verdict.withheld else []
        self._log.add(now, result.key, ", ".join([f"result of {word.worker} arrived", *words]))
        notes = [self._contradict(store, failure, worker, word.worker) for worker, failure in verdict.contradicted]
        return Accepted(word, verdict, kept, notes)

    def _witness(
        self, store: SharedStore, result: Result, arrays: Sequence[Array], offsets: Sequence[int], now: float
    ) -> Accepted | None:
        """Keep the samples that are for this sink's readers; what failed is for the ventilator to decide."""
        word = Word((result.lease.issuer, result.lease.holder), printable(result.worker), result.lease.vouched)
        _check_names(result, offsets)
        failures = [_clean(failure, word.worker, named=bool(result.lease.names)) for failure in result.failures]
        came = store.take_in(result, arrays)
        if not (store.witness(result.key.ordinal, offsets, failures, word) or came):
            self._drop(result, "duplicate", "it has come before", now)
            return None
        words = [f"{came} samples for this sink", *([f"{len(failures)} items failed"] if failures else [])]
        self._log.add(now, result.key, ", ".join([f"result of {word.worker} arrived", *words]))
        return Accepted(word, Verdict(frozenset(), (), (), ()), kept=True, notes=())

    def _contradict(self, store: Store, failure: Failure, worker: str, other: str) -> Note:
        name = worker if worker in self._contradicted or len(self._contradicted) < _MOST_NAMES else "others"
        self._contradicted[name] += 1
        fields = {"stream": store.plan.name, "path": failure.path, "reason": failure.reason, "worker": worker}
        first = self._contradicted[name] == 1
        return Note("failure contradicted", fields | {"made_by": other}, "warning" if first else "info")

    def _drop(self, result: Result, outcome: str, why: str, now: float) -> None:
        self._outcomes[outcome] += 1
        self._log.add(now, result.key, f"result of {printable(result.worker)} arrived; {why}")


def _check_names(result: Result, offsets: Sequence[int]) -> None:
    """Raise RemoteProtocolError if the failures name other files than the task listed."""
    if not result.failures or not result.lease.names:
        return
    if digest_of(result.names) != result.lease.names or len(result.names) != len(offsets):
        raise RemoteProtocolError("result", f"{result.key}: {len(result.names)} names, not those of its task")
    names = dict(zip(offsets, result.names, strict=True))
    for failure in result.failures:
        name = names[failure.offset]
        if failure.path != name:
            raise RemoteProtocolError("result", f"{result.key}: failure of {failure.path!r}, which is {name!r}")


def _clean(failure: Failure, worker: str, *, named: bool) -> Failure:
    """Return a worker's failure without anything that it could make up, except the reason, in printable words."""
    path = failure.path if named else printable(failure.path)[:4096]
    return failure.replaced(path=path, reason=printable(failure.reason)[:4096], attempts=1, worker=worker)
