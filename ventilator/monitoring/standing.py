"""Says in a snapshot which of several ventilators acts, and whether another one would take over."""

from collections.abc import Sequence

from penstock.protocol.snapshot import Scaling, Snapshot, Standby, StandbyRow, Verdict
from penstock.ventilator.standby.candidate import Standing

#: Ventilators that wait, in a snapshot and in a sentence.
_MOST_ROWS, _MOST_NAMES = 16, 3


def with_standby(snapshot: Snapshot, standing: Standing) -> Snapshot:
    """Return a snapshot that says which ventilator acts; of one that waits, it asks for no workers."""
    rows = tuple(StandbyRow(name=each.name, heard_s=each.heard_s, alive=each.alive) for each in standing.waiting)
    row = Standby(
        acting=standing.acting,
        term=standing.term,
        number=standing.number,
        holder=standing.holder,
        waiting=rows[:_MOST_ROWS],
        why=standing.why,
        sentence=f"{_acting(standing)}; {_watching(rows)}" if standing.acting else _acting(standing),
    )
    if standing.acting:
        return snapshot.model_copy(update={"standby": row})
    verdict = Verdict(word="idle", sentence=f"idle: this ventilator is on standby; {row.sentence}")
    return snapshot.model_copy(update={"standby": row, "verdict": verdict, "scaling": Scaling()})


def _acting(standing: Standing) -> str:
    if not standing.holder:
        return f"no ventilator acts yet ({standing.why})"
    return f"ventilator {standing.holder} acts, term {standing.term}"


def _watching(rows: Sequence[StandbyRow]) -> str:
    alive, silent = [row for row in rows if row.alive], [row for row in rows if not row.alive]
    if alive:
        return f"on standby: {_signs(alive, 'last sign {} s ago')}"
    gone = f" ({_signs(silent, 'silent for {} s')})" if silent else ""
    return f"none is on standby, so that no other takes over if it ends{gone}"


def _signs(rows: Sequence[StandbyRow], words: str) -> str:
    named = [f"{row.name}, {words.format(f'{row.heard_s:.1f}')}" for row in rows[:_MOST_NAMES]]
    return "; ".join([*named, *([f"{len(rows) - _MOST_NAMES} more"] if len(rows) > _MOST_NAMES else [])])
