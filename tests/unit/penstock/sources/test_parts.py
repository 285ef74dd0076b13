"""Parts of one file, which a worker reads with the file opened once."""

from pathlib import Path

import pytest

from penstock.protocol.errors import ItemError
from penstock.sources.files import read_parts


def test_parts_of_a_file_are_read_together_and_fail_apart(tmp_path: Path) -> None:
    """In the order in which they are asked for; a file that cannot be opened fails as a whole."""
    content = bytes(range(256)) * 40
    (tmp_path / "shard").write_bytes(content)
    spans = [(100, 50), (0, 7), (10_200, 60), (5, 0), (3, 3000), (10_239, 1), (100, 50)]
    found = read_parts(tmp_path, "shard", 2000, spans, allow_outside=False)
    words = {
        2: "the file ends before the item does: it has 10240 bytes, the item ends at 10260",
        3: "the item is empty",
        4: "3000 bytes is over the limit of 2000 bytes",
    }
    for number, (offset, length) in enumerate(spans):
        if number in words:
            assert words[number] in str(found[number])
        else:
            assert content[offset : offset + length] == found[number]
    with pytest.raises(ItemError, match="no such file"):
        read_parts(tmp_path, "none", 2000, spans, allow_outside=False)
