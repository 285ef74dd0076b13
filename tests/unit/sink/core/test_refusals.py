"""Why a subscription is refused: positions of an older release."""

from support.plans import make_plan

from penstock.protocol.messages import Subscribe
from penstock.sink.core.refusals import why_not


def refusal(given: str, fingerprint: str, fingerprint_1: str = "") -> str:
    """Return why a position with a fingerprint is refused; empty if it is not."""
    plan = make_plan(items=20, fingerprint=fingerprint, fingerprint_1=fingerprint_1)
    request = Subscribe(stream="train", limit=1, version="1.0", fingerprint=given)
    refused = why_not(request, {"train": plan}, 0, "1.0")
    return refused.reason if refused else ""


def test_a_position_of_an_older_release_is_accepted_where_it_says_the_same() -> None:
    """By either fingerprint of the stream; an unknown one is quoted with that of the same version."""
    both = "2:new", "old"
    assert ["", "", ""] == [refusal(given, *both) for given in ("", "2:new", "old")]
    assert "belongs to fingerprint other, the sink has old: " in refusal("other", *both)
    assert "belongs to fingerprint 2:other, the sink has 2:new: " in refusal("2:other", *both)


def test_a_spec_that_the_older_release_did_not_know_is_said_to_be_the_reason() -> None:
    """There is no fingerprint of version 1 to compare with."""
    words = refusal("old", "2:new")
    assert "old (of an older release, which did not know all fields of this spec), the sink has 2:new" in words
