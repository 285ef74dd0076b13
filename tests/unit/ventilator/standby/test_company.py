"""One that nobody reaches hands its turn to one that waits, and none passes it to and fro."""

from contextlib import ExitStack
from pathlib import Path

import pytest
from support.streams import DEADLINE_S, until

from penstock.ventilator.standby.candidate import Candidate, Claim, Look, Record, Renew, Seen
from penstock.ventilator.standby.company import Company
from penstock.ventilator.standby.keeper import Keeper

#: Seconds without a change after which another one claims the next number.
TAKEOVER_S = 4.0


def test_one_that_had_workers_or_sinks_loses_them_to_one_that_is_reached() -> None:
    """Only once they have all been gone for a while in which that one was reached; a greeting counts as well."""
    company = Company(1000.0, 1.0)
    assert not company.is_lost(1005.0, here=True, elsewhere=False)
    assert not company.is_lost(1005.9, here=False, elsewhere=True)
    assert not company.is_lost(1006.0, here=True, elsewhere=False)
    assert not company.is_lost(1006.5, here=False, elsewhere=True)
    assert company.is_lost(1007.0, here=False, elsewhere=True)
    company.greeted(1007.1)
    assert not company.is_lost(1008.0, here=False, elsewhere=True)
    assert not company.is_lost(1100.0, here=False, elsewhere=False), "nobody reaches the other one either"
    assert not company.is_lost(1100.9, here=False, elsewhere=True)
    assert company.is_lost(1101.0, here=False, elsewhere=True)


def test_one_that_nobody_reached_in_its_turn_gives_it_back() -> None:
    """Not before everyone had the time to come."""
    company = Company(1000.0, 1.0)
    assert not company.is_lost(1002.9, here=False, elsewhere=True)
    assert company.is_lost(1003.0, here=False, elsewhere=True)


def test_who_waits_says_that_it_was_greeted_for_a_while() -> None:
    """And the others know that it is reached, as long as it lives."""
    waiting = Candidate(Record("w", "host/2", takeover_s=TAKEOVER_S))
    waiting.greeted_until = 13.0
    said = []
    for now in (12.9, 13.0):
        look = waiting.job(now, 5)
        assert isinstance(look, Look)
        said.append(look.waiting)
    assert [True, False] == [record.greeted for record in said]
    other, acts = Candidate(Record("me", "host/1", takeover_s=TAKEOVER_S)), Record("third")
    other.took(other.job(12.0, 5), Seen(1, b"1", acts, (said[0],)), 12.0, 12.0)
    assert other.another_is_reached(12.1)
    assert not other.another_is_reached(12.0 + TAKEOVER_S), "it is silent"
    other.took(other.job(12.2, 5), Seen(1, b"1", acts, (said[1],)), 12.2, 12.2)
    assert not other.another_is_reached(12.3)


def handed_over(now: float) -> tuple[Candidate, Record]:
    """Return a candidate that acted and has handed over, and the record that it left."""
    candidate = Candidate(Record("me", "host/1", takeover_s=TAKEOVER_S))
    candidate.took(candidate.job(now, 5), Seen(), now, now)
    claim = candidate.job(now, 5)
    assert isinstance(claim, Claim)
    candidate.took(claim, Seen(1, b"", claim.record, (), done=True), now, now)
    job = candidate.hand_over(now + 1)
    assert isinstance(job, Renew)
    assert job.record.released
    assert not candidate.holds(now + 1)
    candidate.took(job, Seen(1, b"1", job.record, (), done=True), now + 1, now + 1)
    candidate.validate(now + 1)
    assert candidate.hand_over(now + 1) is None, "it has nothing left to hand over"
    return candidate, job.record


def test_it_leaves_the_next_number_to_others_for_a_while() -> None:
    """It would be the first to see its own record; if nobody wants the number, it claims that after all."""
    candidate, record = handed_over(10.0)
    for now in (11.1, 15.0, 18.9):
        candidate.took(candidate.job(now, 5), Seen(1, b"1", record), now, now)
        assert isinstance(candidate.job(now, 5), Look)
        assert "no worker and no sink reached it" in candidate.standing(now).why
        assert "" == candidate.standing(now).holder
    candidate.took(candidate.job(19.1, 5), Seen(1, b"1", record), 19.1, 19.1)
    assert isinstance(candidate.job(19.1, 5), Claim)


def test_it_claims_what_another_one_has_left_since() -> None:
    """It yields one number, not its turns for ever."""
    candidate, _ = handed_over(10.0)
    candidate.took(candidate.job(11.5, 5), Seen(2, b"2", Record("other", released=True)), 11.5, 11.5)
    assert isinstance(candidate.job(11.5, 5), Claim)


def test_another_keeper_acts_soon_after_one_has_handed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not wait as for one that was killed; without another one that is reached, nothing is handed over."""
    for name in ("_RENEW", "_LOOK"):  # often, and yet far longer until one is taken for killed than any wait here
        monkeypatch.setattr(f"penstock.ventilator.standby.candidate.{name}", 0.004)
    with ExitStack() as stack:

        def start(name: str) -> Keeper:
            keeper = Keeper(str(tmp_path), 3 * DEADLINE_S, f"tcp://{name}:5555", lambda: None)
            stack.callback(keeper.close)
            return keeper

        a = start("a")
        until(lambda: a.term > 0, "the first to act")
        before = a.term
        a.hand_over()
        b = start("b")
        until(lambda: any(each.alive for each in a.standing().waiting), "the first to know of the other one")
        a.hand_over()
        looked = a._candidate._beat
        until(lambda: a._candidate._beat > looked + 1, "the first to renew its record")
        assert before == a.term, "nobody reaches the other one"
        b.greeted(600.0)
        until(lambda: a.another_is_reached, "the first to know that the other one is reached")
        a.hand_over()
        until(lambda: b.term > before, "the other one to act")
        assert 0 == a.term
        assert not a.may_act(before)
