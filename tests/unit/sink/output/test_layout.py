"""Text that HDF5 cannot hold is refused as a class name, and escaped in paths and reasons."""

import pytest
from support.plans import make_plan

from penstock.protocol.errors import OutputError
from penstock.sink.output.layout import Layout, text


@pytest.mark.parametrize("name", ["a\0b", "caf\udce9"])
def test_a_class_name_that_hdf5_cannot_hold_is_refused_in_words(name: str) -> None:
    """Before anything is written."""
    plan = make_plan(items=4)
    with pytest.raises(OutputError, match="a name that HDF5 cannot hold: rename its folder"):
        Layout.of(plan.model_copy(update={"classes": ("cat", name)}))


def test_other_text_is_escaped() -> None:
    """NUL and bytes that are no UTF-8; all else stays."""
    assert r"a\x00b caf\udce9 図" == text("a\0b caf\udce9 図")
