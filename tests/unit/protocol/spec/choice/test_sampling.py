"""The fields of sampling: what contradicts itself is refused when the spec is read."""

from typing import Any

import pytest

from penstock.protocol.spec.choice.sampling import Sampling


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"weights": {"cat": 1}}, "weights are of classes, and by = 'item'"),
        ({"by": "class", "weights": {"cat": -1}}, "'cat' = -1.0: a weight is a number of 0 or more"),
        ({"by": "class", "weights": {"cat": float("nan")}}, "'cat' = nan"),
        ({"repeat": 2, "epoch_items": 5}, "repeat = 2 with epoch_items = 5: give one of them"),
    ],
)
def test_contradictions_are_refused(fields: dict[str, Any], words: str) -> None:
    """With the values that contradict each other."""
    with pytest.raises(ValueError, match=words):
        Sampling.model_validate(fields)
