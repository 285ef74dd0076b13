"""What a snapshot says of several ventilators: who acts, whether another one would take over, and that none would."""

from support.snapshots import make_snapshot

from penstock.protocol.snapshot import Standby
from penstock.ventilator.monitoring.standing import with_standby
from penstock.ventilator.standby.candidate import Standing, Waiting


def said(*waiting: Waiting, acting: bool = True, holder: str = "one/7 at tcp://one:5555", why: str = "") -> Standby:
    """Return what the snapshot of one of several says."""
    standing = Standing(acting, 9, 2, holder, waiting, why)
    found = with_standby(make_snapshot(), standing).standby
    assert found is not None
    return found


def test_one_that_waits_is_named_with_its_last_sign_of_life() -> None:
    """So that people see that it is there and well."""
    seen = said(Waiting("other/8", 0.42, alive=True))
    assert seen.is_watched
    assert "ventilator one/7 at tcp://one:5555 acts, term 9; on standby: other/8, last sign 0.4 s ago" == seen.sentence


def test_a_missing_standby_is_said() -> None:
    """With the one that was there, if its record still is."""
    assert not said().is_watched
    assert said().sentence.endswith("; none is on standby, so that no other takes over if it ends")
    seen = said(Waiting("other/8", 12.0, alive=False))
    assert not seen.is_watched
    assert seen.sentence.endswith(
        "; none is on standby, so that no other takes over if it ends (other/8, silent for 12.0 s)"
    )


def test_many_that_wait_make_no_long_sentence() -> None:
    """A snapshot lists a few, the sentence names three."""
    seen = said(*(Waiting(f"h{n}/1", 0.1, alive=True) for n in range(30)))
    assert 16 == len(seen.waiting)
    assert "h2/1" in seen.sentence
    assert "h3/1" not in seen.sentence
    assert seen.sentence.endswith("; 27 more")


def test_one_that_waits_says_who_acts_or_why_none_does() -> None:
    """Its own figures mean nothing: it is idle, and asks for no workers."""
    snapshot = with_standby(
        make_snapshot(),
        Standing(acting=False, term=9, number=2, holder="one/7 at tcp://one:5555", waiting=(), why="one/7 acts"),
    )
    assert "idle" == snapshot.verdict.word
    assert "this ventilator is on standby; ventilator one/7 at tcp://one:5555 acts, term 9" in snapshot.verdict.sentence
    assert snapshot.scaling.wanted is None
    assert (
        "no ventilator acts yet (the folder is away)"
        == said(acting=False, holder="", why="the folder is away").sentence
    )
