"""The order in which a file's rows become batches: every row once an epoch, at any world size, from any position."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.trainer.hdf5.order import Rounds, RowOrder

ORDERS = st.builds(
    RowOrder,
    seed=st.integers(0, 2**63 - 1),
    sizes=st.lists(st.integers(1, 90), min_size=1, max_size=4).map(tuple),
    run_rows=st.integers(1, 30),
    window_runs=st.integers(1, 7),
    shuffle=st.booleans(),
)


def rows_of(order: RowOrder, epoch: int, place: int = 0) -> list[int]:
    """Return the rows that stand at the places of an epoch from `place` on."""
    found: list[int] = []
    for window in order.windows(epoch, place):
        rows = window.rows if window.order is None else window.rows[window.order]
        assert window.stop - window.start == len(rows)
        assert (np.diff(window.rows) > 0).all()
        found += rows[max(0, place - window.start) :].tolist()
    return found


@given(order=ORDERS, epoch=st.integers(0, 9))
def test_every_row_of_an_epoch_stands_at_one_place(order: RowOrder, epoch: int) -> None:
    """Whatever the sizes of runs and windows; without shuffling, in the file's order."""
    base = sum(order.sizes[: epoch % len(order.sizes)])
    expected = list(range(base, base + order.sizes[epoch % len(order.sizes)]))
    rows = rows_of(order, epoch)
    assert expected == (sorted(rows) if order.shuffle else rows)


@given(order=ORDERS, epoch=st.integers(0, 9), data=st.data())
def test_a_place_holds_the_same_row_wherever_reading_begins(order: RowOrder, epoch: int, data: st.DataObject) -> None:
    """A resume continues what an undisturbed reader would have read."""
    place = data.draw(st.integers(0, order.sizes[epoch % len(order.sizes)] - 1))
    assert rows_of(order, epoch)[place:] == rows_of(order, epoch, place)


@given(order=ORDERS)
def test_positions_count_rows_over_epochs(order: RowOrder) -> None:
    """Spans join, and each position is in the epoch whose span holds it."""
    stop = 0
    for epoch in range(2 * len(order.sizes) + 1):
        start, after = order.epoch_span(epoch)
        assert stop == start
        assert {epoch} == {order.epoch_of(position) for position in (start, after - 1)}
        stop = after


@given(
    size=st.integers(0, 200),
    batch_size=st.integers(1, 20),
    world_size=st.integers(1, 5),
    drop_remainder=st.booleans(),
)
def test_ranks_share_every_place_and_get_equally_many_batches(
    *, size: int, batch_size: int, world_size: int, drop_remainder: bool
) -> None:
    """Each place is some one rank's, but for those that are dropped; batches have the sizes that are said."""
    ranks = [Rounds(size, batch_size, rank, world_size, drop_remainder) for rank in range(world_size)]
    owners = sum(rounds.mine(0, size).astype(int) for rounds in ranks)
    assert [1] * (size - ranks[0].dropped) + [0] * ranks[0].dropped == np.asarray(owners).tolist()
    assert 1 == len({len(rounds) for rounds in ranks})
    for rounds in ranks:
        assert rounds.mine(0, size).sum() == sum(rounds.batch(number)[0] for number in range(len(rounds)))
        assert all(0 < rounds.batch(number)[0] <= batch_size for number in range(len(rounds)))
    if len(ranks[0]):
        assert size - ranks[0].dropped == ranks[0].batch(len(ranks[0]) - 1)[1]
    assert not drop_remainder or size % (batch_size * world_size) == ranks[0].dropped


def test_a_batch_mixes_rows_of_many_runs_and_each_epoch_has_an_order_of_its_own() -> None:
    """Runs stay together on the disk, not in batches; the short last run may come anywhere."""
    order = RowOrder(seed=3, sizes=(10_003,), run_rows=10, window_runs=50, shuffle=True)
    first, second = rows_of(order, 0), rows_of(order, 1)
    assert first != second
    batches = np.array(first[:9984]).reshape(-1, 64) // 10
    assert min(len(set(batch.tolist())) for batch in batches) > 24
    tails = [rows_of(order, epoch).index(10_002) for epoch in range(40)]
    assert min(tails) < 2500
    assert max(tails) > 7500


@pytest.mark.parametrize("place", [0, 5, 39, 41, 79])
def test_rows_are_fixed_for_good(place: int) -> None:
    """A saved position means the same rows in every later version: changing this is a new format of state."""
    order = RowOrder(seed=7, sizes=(80,), run_rows=8, window_runs=3, shuffle=True)
    expected = {0: 75, 5: 65, 39: 28, 41: 29, 79: 52}
    assert expected[place] == rows_of(order, 0)[place]
