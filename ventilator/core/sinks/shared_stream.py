"""What several sinks need of one stream: merged for the queue of work, and divided again when work is leased.

Part of the leases core: no socket, no clock. Each sink says of which tasks it does not know what failed, and which
positions it lacks (`StreamNeed`). A task is work as long as it is not settled (`settling.py`), or a sink lacks samples
of it. What is settled is told to the sinks that do not know it.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from penstock.protocol import ranges
from penstock.protocol.messages import Destination, Failed, Failing, Failure, Made, Outcomes, StreamNeed, TaskKey
from penstock.protocol.outcomes.failing_text import failed_in
from penstock.protocol.ranges import Ranges
from penstock.ventilator.core.sinks.belief import believed
from penstock.ventilator.core.sinks.needs import MOST_TASKS, Need, Needs
from penstock.ventilator.core.sinks.patience import NOWHERE, Patience, reach_of
from penstock.ventilator.core.sinks.report_check import check_need
from penstock.ventilator.core.sinks.settling import Settling
from penstock.ventilator.core.stream_queue import StreamQueue
from penstock.ventilator.core.work import Work

#: Seconds after which a result that has not brought all is late: nearly all have come by then, under load too.
_LATE_S = 1.0


class SharedStream:
    """One stream and the sinks that need something of it."""

    def __init__(self, queue: StreamQueue, settling: Settling) -> None:
        """Start without sinks."""
        self.queue, self.settling = queue, settling
        self._needs, self._patience = Needs(queue.plan, settling), Patience()
        queue.parts.wanted_at, queue.parts.presses = self._needs.wanted_at, self._needs.presses

    def meet(self, names: Mapping[bytes, str], hosts: Mapping[bytes, str]) -> None:
        """Take the names of the connected sinks, and the hosts of those with workers."""
        self._needs.names, self._needs.hosts = names, hosts

    def take(self, peer: bytes, need: StreamNeed | None, report: int) -> None:
        """Adopt a sink's report. Raises RemoteProtocolError if it makes no sense."""
        before = self._needs.get(peer)
        if need is None:
            self._needs.pop(peer, None)
            return
        check_need(self.queue.geometry, need)
        lacking = (
            self._needs.lacking(need.lacks) if before is None or before.need.lacks != need.lacks else before.lacking
        )
        reach = reach_of(need.missing, lacking, before.reach if before else NOWHERE)
        most = max(ranges.size(lacking), before.most if before else 0)
        known = self._needs[peer] = Need(need, lacking, report, reach=reach, most=most)
        if before:
            known.told, known.told_stop = ranges.intersect(before.told, need.missing), before.told_stop
        known.unanswered = bool(need.settled or need.failed or need.bare)
        self.settling.adopt(need.settled, need.failed, need.bare)
        if need.stopped:
            known.told_stop = need.stopped
            self.settling.stop(need.stopped, need.kind)

    def lose(self, peer: bytes) -> None:
        """Forget what a sink needed."""
        self._needs.pop(peer, None)

    def settle(self) -> None:
        """Decide by all that came to the sinks, and by what was given up."""
        lacks = [known.need.lacks for known in self._needs.values()]
        told: list[tuple[Sequence[Made], Sequence[Failing]]] = []
        for known in self._needs.values():
            if known.fresh:
                told.append((believed(known.need.made, self.queue.geometry, lacks), known.need.failing))
                known.fresh = False
        self.settling.hear_all(told)
        for work in list(self.queue.works.values()) if self.queue.deaths.poison else ():
            if work.failure:
                work.told = True
                self.settling.give_up(work.key.ordinal, work.failure)

    def merge(self, held: Callable[[TaskKey], bool], now: float, *, sweep: bool = False) -> list[Work]:
        """Give the queue what all sinks need together; return the work that none needs any more.

        With a `sweep`, all results that were sent a while ago are looked at: whether they bring what is lacking.
        """
        self._needs.merged()
        if not self._needs:
            return self.queue.need(None, held, now)
        settling = self.settling
        if settling.stopped:
            need = StreamNeed(stream=self.queue.plan.name, missing=(), stopped=settling.stopped)
            return self.queue.need(need, held, now)
        missing = self._missing()
        missing = ranges.subtract(missing, self._waiting(ranges.subtract(missing, self.queue.missing), now))
        doubted = settling.doubted(missing)
        came = settling.take_fresh()
        self._cut(missing, came, held)
        fresh = ranges.subtract(missing, self.queue.missing)
        few = self._few(fresh)
        divided = [ordinal for ordinal in self.queue.parts.divided if ranges.holds(missing, ordinal)]
        items = self.queue.geometry.slots
        done = {
            ordinal: tuple(sorted(set(range(len(items(ordinal)))) - set(self._needed(ordinal))))
            for ordinal in [*divided, *few]
        }
        need = StreamNeed(
            stream=self.queue.plan.name,
            missing=missing,
            came=came,
            partial=tuple(done.items()),
            doubted=doubted,
            stopped="",
        )
        over = self.queue.need(need, held, now, few)
        late = self._late_works(now) if sweep else []
        for work in [*self._settled_works(missing), *self.queue.heads(), *late]:
            if work.finished_at is not None and not held(work.key) and self._is_stranded(work):
                self.queue.push(work)
        return over

    def answer(self, peer: bytes, *, again: bool) -> Outcomes | None:
        """Return what a sink is to be told; `again`: also what it was told already and still does not know."""
        known = self._needs.get(peer)
        if known is None:
            return None
        if again:
            known.told, known.told_stop = (), known.need.stopped
        stopped = self.settling.stopped
        missing = known.need.missing
        if missing:
            settled = ranges.intersect(self.settling.known.settled(missing[0][0], missing[-1][1]), missing)
            due = ranges.subtract(settled, known.told)
        else:
            due = ()
        if not (due or known.unanswered or known.told_stop != stopped):
            return None
        due = ranges.lowest(due, MOST_TASKS)
        failed, left_out = self._failed(due)
        due = ranges.subtract(due, ranges.from_sorted(sorted(left_out)))
        known.told, known.unanswered, known.told_stop = ranges.normalise((*known.told, *due)), False, stopped
        return Outcomes(
            stream=self.queue.plan.name,
            heard=known.report,
            settled=due,
            failed=failed,
            stopped=stopped,
            kind=self.settling.kind,
        )

    def destinations(self, work: Work) -> tuple[Destination, ...]:
        """Return where the samples of a unit of work go now."""
        names, destined = self._needs.names, self._needs.destined(work.key)
        if not destined:  # only what failed is to be known: the first sink that asks hears it
            ordinal = work.key.ordinal
            asking = (peer for peer, known in self._needs.items() if ranges.holds(known.need.missing, ordinal))
            destined = dict.fromkeys(sorted(filter(names.get, asking), key=lambda peer: names[peer])[:1], ())
        work.destined = destined
        if len(destined) == 1:  # nearly always
            [(peer, places)] = destined.items()
            return (Destination(names[peer], places),)
        return tuple([Destination(names[peer], places) for peer, places in destined.items()])

    def _missing(self) -> Ranges:
        settling = self.settling
        unknown = ranges.normalise(span for known in self._needs.values() for span in known.need.missing)
        found: list[tuple[int, int]] = []
        if unknown:
            found += ranges.subtract(unknown, settling.known.settled(unknown[0][0], unknown[-1][1]))
        for peer, known in self._needs.items():
            lacking = known.lacking
            if settling.any_failed:  # the sink may not know yet that what it lacks has failed
                members = ranges.members(lacking)
                over = [n for n in members if settling.failed(n) and not len(self._needs.lacks(peer, _whole(self, n)))]
                lacking = ranges.subtract(lacking, ranges.from_sorted(over))
            found += lacking
        return ranges.lowest(ranges.normalise(found), MOST_TASKS)

    def _waiting(self, fresh: Ranges, now: float) -> Ranges:
        """Return which of these tasks, new to the queue, wait for the reports of other sinks."""
        needs = self._needs.values()
        lacking = ranges.normalise(span for known in needs for span in known.lacking)
        return self._patience.waiting(fresh, lacking, [known.reach for known in needs], now)

    def _settled_works(self, missing: Ranges) -> list[Work]:
        """Return the work on those missing tasks of which it is known what failed: few, whatever is under way."""
        queue = self.queue
        if not missing:
            return []
        settled = ranges.intersect(missing, self.settling.known.settled(missing[0][0], missing[-1][1]))
        keys = (key for ordinal in ranges.members(settled) for key in queue.parts.units(ordinal))
        return [queue.works[key] for key in keys if key in queue.works]

    def _late_works(self, now: float) -> list[Work]:
        """Return the work whose result was sent a while ago and has not brought all."""
        sent = now - _LATE_S
        return [work for work in self.queue.works.values() if work.finished_at is not None and work.finished_at < sent]

    def _needed(self, ordinal: int) -> tuple[int, ...]:
        """Return the offsets of a task's items of which something is needed."""
        asked = any(ranges.holds(known.need.missing, ordinal) for known in self._needs.values())
        if asked and not self.settling.is_begun(ordinal):  # of most tasks: what follows takes long
            return tuple(range(len(self.queue.geometry.slots(ordinal))))
        positions = self.queue.geometry.positions(ordinal)
        lost = set(self.settling.failed(ordinal))
        lacking = np.zeros(len(positions), np.bool_)
        for known in self._needs.values():
            if ranges.holds(known.lacking, ordinal):
                lacking |= ranges.contained(known.need.lacks, positions).any(axis=1)
        return tuple(
            offset
            for offset in range(len(positions))
            if (lacking[offset] and offset not in lost) or (asked and not self.settling.is_decided(ordinal, offset))
        )

    def _few(self, fresh: Ranges) -> dict[int, tuple[int, ...]]:
        """Return those of the settled tasks of which few items are to be made again, and these."""
        settled = self.settling.known.settled(fresh[0][0], fresh[-1][1]) if fresh else ()
        found = {ordinal: self._needed(ordinal) for ordinal in ranges.members(ranges.intersect(fresh, settled))}
        return {
            ordinal: needed
            for ordinal, needed in found.items()
            if 0 < 2 * len(needed) <= len(self.queue.geometry.slots(ordinal))
        }

    def _cut(self, missing: Ranges, came: Ranges, held: Callable[[TaskKey], bool]) -> None:
        """Of tasks that were made, and of which sinks lack a few samples since, let these items be units of their own.

        `came` are the tasks that were just settled.
        """
        for work in self._settled_works(missing):
            ordinal = work.key.ordinal
            if work.key.which is not None or held(work.key):
                continue
            waits = work.ready and ranges.holds(came, ordinal)
            if waits or (work.finished_at is not None and self._is_stranded(work)):
                needed = self._needed(ordinal)
                if 0 < 2 * len(needed) <= len(self.queue.geometry.slots(ordinal)):
                    self.queue.cut(work, needed)

    def _is_stranded(self, work: Work) -> bool:
        """Return whether sinks lack samples of a unit of work that was made, and its result brings them none of these.

        It never will: what failed meanwhile has moved their claims, or a sink's window came to it after the lease. The
        samples that the others got may show a part of its items alone: then it would not be settled either.
        """
        coming, lacking = work.destined or {}, self._needs.destined(work.key)
        return bool(lacking) and not any(
            ranges.intersect(coming.get(peer, ()), places) for peer, places in lacking.items()
        )

    def _failed(self, settled: Ranges) -> tuple[tuple[Failed, ...], set[int]]:
        known = self.settling.known
        if not known.any_failed:
            return (), set()
        found = ((ordinal, known.failed(ordinal)) for ordinal in ranges.members(settled))
        told, left_out = failed_in((n, failed.values()) for n, failed in found if failed)
        return tuple([each.replaced(failure=self._named(each.ordinal, each.failure)) for each in told]), left_out

    def _named(self, ordinal: int, failure: Failure) -> Failure:
        """Return a failure with the item's name: a sink that had many left it out of its report."""
        if failure.path:
            return failure
        # Of the item alone: a whole task of rows carries no items.
        [item] = self.queue.task(Work(TaskKey(self.queue.plan.name, ordinal, failure.offset), 0.0)).items
        return failure.replaced(path=item.name)


def _whole(stream: SharedStream, ordinal: int) -> TaskKey:
    return TaskKey(stream.queue.plan.name, ordinal)
