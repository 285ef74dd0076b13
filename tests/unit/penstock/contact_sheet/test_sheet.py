"""The sheet itself: its kind of file, and the words under its pictures."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from penstock.contact_sheet.samples import save
from penstock.contact_sheet.sheet import Tile, check_output, draw


@pytest.mark.parametrize(
    ("name", "kind"), [("a.png", "PNG"), ("a.JPG", "JPEG"), ("a.jpeg", "JPEG"), ("a.webp", "WEBP")]
)
def test_a_sheet_is_of_the_kind_that_its_name_ends_in(tmp_path: Path, name: str, kind: str) -> None:
    """In capitals as well."""
    save(draw("t", [], []), check_output(str(tmp_path / name)))
    with Image.open(tmp_path / name) as sheet:
        assert kind == sheet.format


def test_words_that_are_too_long_stay_within_their_tile() -> None:
    """Names lose their middle, reasons their end; signs that no font has are drawn all the same."""
    tile = Tile("x" * 500 + " and much more " * 50, ["a very long class name " * 9, "文件-é-×-" * 30])
    blank = draw("t", [], [Tile(" ", ["", ""])])
    drawn = draw("t", [], [tile])
    assert blank.size == drawn.size
    pixels = np.asarray(drawn)
    margin = np.concatenate([pixels[:, :15].reshape(-1, 3), pixels[:, -15:].reshape(-1, 3)])
    assert {(252, 252, 250)} == {tuple(pixel) for pixel in margin.tolist()}
