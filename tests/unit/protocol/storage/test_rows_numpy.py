"""Hostile `.npy` headers end in an error that names the file."""

import struct
from pathlib import Path

import pytest

from penstock.protocol.errors import SourceError
from penstock.protocol.storage.rows_numpy import open_member

REST = "'fortran_order': False, 'shape': (3, 4, 4)}"


@pytest.mark.parametrize(
    "header",
    [
        "(" * 5000,
        "[" * 900 + "]" * 900,
        "-" * 9000 + "1",
        "'''",
        "{[]: 1}",
        "\0",
        f"{{'descr': [[]], {REST}",
        f"{{'descr': {'(' * 150}{')' * 150}, {REST}",
        f"{{'descr': '|V999999999999', {REST}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (True,)}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (1e3,)}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (-1,)}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (9" + "9" * 4500 + ",)}",
    ],
)
def test_no_header_raises_anything_but_words(header: str, tmp_path: Path) -> None:
    """Whatever numpy's parser makes of it."""
    content = header.encode()
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(content)) + content + bytes(100))
    with pytest.raises(SourceError, match=r"x\.npy"):
        open_member(str(tmp_path), "x.npy", allow_outside=False)
