"""Which of the items that sinks report as made are made: what a worker only says counts for nothing that is lacking.

Part of the leases core: no socket, no clock. Samples at a sink prove that an item can be made. Where a result brought
none (`Made.shown`), a worker may lie; of what a sink lacks, some worker will have samples to show, or a failure.
"""

from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter

import numpy as np

from penstock.protocol import ranges
from penstock.protocol.messages import Made
from penstock.protocol.order import Geometry
from penstock.protocol.ranges import Ranges

_SHOWN = attrgetter("shown")


def believed(told: Sequence[Made], geometry: Geometry, lacks: Sequence[Ranges]) -> Sequence[Made]:
    """Return what is believed of what one sink reports, while the connected sinks lack these positions."""
    if all(map(_SHOWN, told)):  # nearly always
        return told
    return list(_believed(told, geometry, lacks))


def _believed(told: Iterable[Made], geometry: Geometry, lacks: Sequence[Ranges]) -> Iterator[Made]:
    for made in told:
        if made.shown:
            yield made
            continue
        places = geometry.positions(made.ordinal)
        lacking = np.zeros(len(places), np.bool_)
        for each in lacks:
            lacking |= ranges.contained(each, places).any(axis=1)
        if offsets := tuple(offset for offset in made.offsets or range(len(places)) if not lacking[offset]):
            yield made.replaced(offsets=offsets)
