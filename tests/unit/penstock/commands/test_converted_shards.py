"""The shards that `penstock convert` writes, as files."""

import io

import pytest
from pyarrow import parquet

from penstock.commands.converting.images import ImageFile
from penstock.commands.converting.shards import Sample, write_parquet


@pytest.mark.parametrize(
    ("count", "size", "groups"),
    [(250, 10, [100, 100, 50]), (5, 33_000_000, [2, 2, 1]), (0, 0, [])],
)
def test_a_row_group_ends_at_rows_or_at_bytes(count: int, size: int, groups: list[int]) -> None:
    """Workers and the writer hold whole groups, so large images make groups of few rows."""
    image, opened = ImageFile(bytes(size), "png"), io.BytesIO()
    write_parquet(opened, (Sample(number, image, 0, f"{number}.png") for number in range(count)), ("cat",))
    facts = parquet.ParquetFile(opened).metadata
    assert groups == [facts.row_group(number).num_rows for number in range(facts.num_row_groups)]
