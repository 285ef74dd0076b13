"""The index of a manifest that a disk damaged: the damage is noticed where the index is used."""

import os
from pathlib import Path

import numpy as np
import pytest
from support.sources.kept_listings import facts, kept, listed

from penstock.protocol.errors import SourceError
from penstock.sources.choice.selected_listing import SelectedListing, labels_of, weights_of

#: Bytes of the paths of 300 items in an index.
PATHS = 4096


@pytest.mark.parametrize("where", ["starts", "labels", "paths"])
def test_damage_in_the_body_is_noticed_where_it_is_used(where: str, root: Path, reads: list[str]) -> None:
    """Each number and name bears a checksum with its block: the message names the file, and the next start mends it."""
    first = facts(listed(root))
    [file] = (root / "cache/penstock/listings").iterdir()
    content = bytearray(file.read_bytes())
    content[{"paths": 200, "starts": PATHS + 8 * 17, "labels": PATHS + 8 * 301 + 4 * 17}[where]] ^= 4
    file.write_bytes(content)
    opened = listed(root)
    with pytest.raises(SourceError, match=r"this kept listing of a manifest is damaged.*start again"):
        facts(opened)
    assert not file.exists()
    assert first == facts(listed(root))
    assert 2 == len(reads)


def test_damaged_weights_are_noticed_where_all_are_used(root: Path) -> None:
    """By sampling, and by a choice of items."""
    fields = {"weight_column": "label", "label_column": ""}
    (root / "m.csv").write_text("\n".join(["path,label", *(f"a/{number}.jpg,2" for number in range(300))]))
    os.utime(root / "m.csv", (1e9, 1e9))
    for use in (weights_of, lambda listing: SelectedListing(listing, np.arange(3), np.zeros(3, np.int32), ())):
        listed(root, **fields)
        [file] = kept(root)
        content = bytearray(file.read_bytes())
        content[PATHS + 8 * 301 + 8 * 17] ^= 1
        file.write_bytes(content)
        with pytest.raises(SourceError, match="is damaged"):
            use(listed(root, **fields))


def test_damaged_labels_are_noticed_where_all_are_used(root: Path) -> None:
    """By counting them, and by balanced sampling."""
    for use in (lambda listing: listing.counts(), labels_of):
        listed(root)
        [file] = (root / "cache/penstock/listings").iterdir()
        content = bytearray(file.read_bytes())
        content[PATHS + 8 * 301 + 4 * 17] ^= 1
        file.write_bytes(content)
        with pytest.raises(SourceError, match="is damaged"):
            use(listed(root))
