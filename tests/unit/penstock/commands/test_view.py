"""`penstock view` checks its own arguments before it asks a sink."""

import pytest

from penstock.commands.view import main


def test_a_sheet_of_another_kind_than_pictures_is_refused_before_anybody_is_asked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """No process listens at the address, and none need."""
    assert 2 == main(["tcp://127.0.0.1:9", "-o", "sheet.pdf"])
    assert "--output 'sheet.pdf': give a file name that ends in .png, .jpg or .webp" in capsys.readouterr().err
