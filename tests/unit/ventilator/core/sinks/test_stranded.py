"""What a sink came to lack after a task was leased for others is leased again, though nothing else is known of it."""

import pytest
from support.cores.sinks_by_hand import INTERVALS, Stack

from penstock.protocol.messages import Destination, Made
from penstock.ventilator.core.sinks import patience


@pytest.mark.parametrize("position", [0, 4])
def test_what_a_sink_came_to_lack_after_the_lease_is_leased_again(
    position: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the samples that another one got show a part of the items alone, so that the task cannot be settled.

    At once if it holds up the stream, and else before long.
    """
    monkeypatch.setattr(patience, "_PATIENCE_S", 0.0)
    stack = Stack()
    stack.join("a", "b")
    first, ordinal = ((0, position),) if position else (), position // 4
    stack.need("a", (0, ordinal + 1), lacks=((0, position + 2),))
    tasks = stack.deal()
    stack.finish(tasks[-1])
    shown = Made(ordinal=ordinal, offsets=(0, 1), issuer="v", holder=1)
    said = Made(ordinal=ordinal, offsets=(2, 3), shown=False, issuer="v", holder=1)
    stack.need("b", (0, ordinal + 1), lacks=((position + 2, position + 4),))
    stack.need("a", (0, ordinal + 1), lacks=first, made=(shown, said))
    if position:
        assert [] == stack.deal()
        stack.now += 1.5 * INTERVALS.heartbeat_s
        stack.take(stack.leases.tick(stack.now))
    [again] = stack.deal()
    assert (ordinal, None) == (again.key.ordinal, again.key.item_offset)
    assert (Destination(sink="b", positions=((position + 2, position + 4),)),) == again.destinations
