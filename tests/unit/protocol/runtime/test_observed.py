"""An observation is renewed at most so often, and what a turn changed is shown soon, however long the next wait is."""

from penstock.protocol.runtime.service import Observed


def test_what_a_turn_changed_is_shown_within_the_interval() -> None:
    """A turn that comes too early for an observation asks for another one in time; a turn that observes does not."""
    observed = Observed(lambda now: f"seen at {now}", 0.5, 10.0)
    assert "seen at 10.0" == observed.latest
    assert 10.5 == observed.renew(10.2, 99.0), "this turn's changes would stay unseen until 99"
    assert 10.3 == observed.renew(10.2, 10.3), "other work is due earlier"
    assert "seen at 10.0" == observed.latest
    assert 99.0 == observed.renew(10.5, 99.0)
    assert "seen at 10.5" == observed.latest
    assert 11.0 == observed.renew(10.6, 99.0)
