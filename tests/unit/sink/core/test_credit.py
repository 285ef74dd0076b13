"""Credit: absolute numbers that may come late, twice or out of order; and the samples that are on their way."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from penstock.protocol.errors import RemoteProtocolError
from penstock.sink.core.credit import SendingCredit


def test_no_batch_is_sent_beyond_the_limit() -> None:
    """Credit is what was granted and not spent."""
    credit = SendingCredit()
    assert 0 == credit.available
    credit.update(0, 2)
    assert 2 == credit.available
    credit.spend(8)
    credit.spend(8)
    assert (2, 0) == (credit.sent, credit.available)
    credit.validate()


def test_a_late_grant_takes_nothing_back() -> None:
    """An older, lower limit that arrives after a newer one changes nothing."""
    credit = SendingCredit()
    credit.update(0, 5)
    assert not credit.update(0, 3)
    assert 5 == credit.limit


def test_consuming_lands_what_was_in_flight() -> None:
    """Samples count from when they are sent until they are consumed, by batch."""
    credit = SendingCredit()
    credit.update(0, 3)
    for samples in (8, 8, 5):
        credit.spend(samples)
    assert 21 == credit.in_flight
    assert credit.update(2, 3)
    assert 5 == credit.in_flight
    credit.validate()


def test_a_receiver_cannot_have_consumed_what_was_not_sent() -> None:
    """Such a claim is the peer's fault, and leaves the credit as it was."""
    credit = SendingCredit()
    credit.update(0, 3)
    with pytest.raises(RemoteProtocolError, match="4 batches consumed of 0 sent"):
        credit.update(4, 9)
    assert (0, 3) == (credit.consumed, credit.limit)


class CreditMachine(RuleBasedStateMachine):
    """Grants in any order, repeated, against a model of three numbers and a list."""

    def __init__(self) -> None:
        """Start with nothing granted."""
        super().__init__()
        self.credit = SendingCredit()
        self.grants = [(0, 0)]
        self.sizes: list[int] = []

    @precondition(lambda self: self.credit.available)
    @rule(samples=st.integers(1, 9))
    def send(self, samples: int) -> None:
        """A batch is sent."""
        self.credit.spend(samples)
        self.sizes.append(samples)
        assert len(self.sizes) == self.credit.sent

    @rule(data=st.data(), more=st.integers(0, 4))
    def grant(self, data: st.DataObject, more: int) -> None:
        """The receiver consumes and grants."""
        consumed = data.draw(st.integers(self.grants[-1][0], len(self.sizes)))
        self.grants.append((consumed, max(consumed + more, self.grants[-1][1])))
        self.credit.update(*self.grants[-1])

    @rule(data=st.data())
    def straggle(self, data: st.DataObject) -> None:
        """An earlier grant arrives once more."""
        assert not self.credit.update(*data.draw(st.sampled_from(self.grants)))

    @invariant()
    def the_model_agrees(self) -> None:
        """Limit and flight are those of the newest grant."""
        self.credit.validate()
        consumed, limit = self.grants[-1]
        assert (consumed, limit) == (self.credit.consumed, self.credit.limit)
        assert sum(self.sizes[consumed:]) == self.credit.in_flight
        assert max(0, limit - len(self.sizes)) == self.credit.available


TestCreditMachine = CreditMachine.TestCase
