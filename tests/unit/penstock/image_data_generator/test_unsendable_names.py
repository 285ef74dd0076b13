"""Names of files that cannot be sent to a worker are refused by both `flow_from_` methods."""

import os
import re
from pathlib import Path

import pandas as pd
import pytest
from support.images import encode, picture
from support.keras.flows import folder, listed

from penstock.protocol.errors import ArgumentError


@pytest.mark.parametrize("name", [b"back\\slash.jpg", b"latin \xe9.jpg"])
def test_names_that_cannot_be_sent_are_refused_at_once(tmp_path: Path, name: bytes) -> None:
    """Before the first batch, with the name quoted; from a DataFrame, too."""
    (tmp_path / "a").mkdir()
    path = os.path.join(os.fsencode(tmp_path / "a"), name)  # noqa: PTH118 - bytes
    with open(path, "wb") as file:  # noqa: PTH123 - bytes
        file.write(encode(picture(1)))
    words = re.escape(repr(os.fsdecode(path)))
    with pytest.raises(ArgumentError, match=words):
        folder(tmp_path)
    with pytest.raises(ArgumentError, match=words):
        listed(pd.DataFrame({"filename": [os.fsdecode(path)], "class": ["a"]}, dtype=object), None)
