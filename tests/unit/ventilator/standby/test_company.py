"""One that nobody reaches hands its turn to one that waits, and none passes it to and fro."""

from contextlib import ExitStack
from pathlib import Path

from support.streams import until

from penstock.ventilator.standby.candidate import Candidate, Claim, Look, Record, Renew, Seen
from penstock.ventilator.standby.company import Company
from penstock.ventilator.standby.keeper import Keeper

#: Seconds without a change after which another one claims the next number.
TAKEOVER_S = 4.0


def test_only_one_that_had_workers_or_sinks_can_lose_them() -> None:
    """And only once they have all been gone for a while."""
    company = Company()
    assert not company.is_lost(1000.0, 1.0, here=False)
    assert not company.is_lost(1001.0, 1.0, here=True)
    assert not company.is_lost(1001.9, 1.0, here=False)
    assert not company.is_lost(1002.0, 1.0, here=True)
    assert not company.is_lost(1002.5, 1.0, here=False)
    assert company.is_lost(1003.0, 1.0, here=False)


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


def test_another_keeper_acts_soon_after_one_has_handed_over(tmp_path: Path) -> None:
    """It does not wait as for one that was killed; without another one, nothing is handed over."""
    with ExitStack() as stack:

        def start(name: str) -> Keeper:
            keeper = Keeper(str(tmp_path), 20.0, f"tcp://{name}:5555", lambda: None)
            stack.callback(keeper.close)
            return keeper

        a = start("a")
        until(lambda: a.term > 0, "the first to act")
        before = a.term
        a.hand_over()
        b = start("b")
        until(lambda: any(each.alive for each in a.standing().waiting), "the first to know of the other one")
        assert before == a.term
        a.hand_over()
        until(lambda: b.term > before, "the other one to act", 15)
        assert 0 == a.term
        assert not a.may_act(before)
