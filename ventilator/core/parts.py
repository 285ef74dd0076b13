"""The units of work that each missing task of a stream is divided into: itself, or parts of it, down to single items.

Part of the leases core: no socket, no clock. A task is cut by its items' homes (`hosts/homes.py`) if its stream keeps
decoded images, and into single items where one of them is suspected or doubted. `stream_queue.py` says when.
"""

from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence

from penstock.protocol.messages import TaskKey
from penstock.protocol.plan import StreamPlan
from penstock.ventilator.core.hosts.homes import Homes


class Parts:
    """Which units of work the missing tasks consist of."""

    def __init__(self, plan: StreamPlan, homes: Homes | None) -> None:
        """Start without tasks; `homes` are those of the items, if the stream keeps decoded images."""
        self._plan = plan
        self.homes = homes if plan.settings.cache is not None else None
        #: Says which host's sink wants a unit's samples; empty: it does not matter (`sinks/needs.py`).
        self.wanted_at: Callable[[TaskKey], str] = lambda _: ""
        #: Says whether a sink that wants its samples lacks so much that it must not wait for a worker on that host.
        self.presses: Callable[[TaskKey], bool] = lambda _: True
        self._units: dict[int, list[TaskKey]] = {}
        #: Of the tasks that are divided: each item's unit, and the offsets of the items that the sink has.
        self._unit_of: dict[int, dict[int, TaskKey]] = {}
        self._here: dict[int, set[int]] = {}

    def add(self, ordinal: int) -> TaskKey:
        """Add a task, undivided; return its name."""
        key = TaskKey(self._plan.name, ordinal)
        self._units[ordinal] = [key]
        return key

    def remove(self, ordinal: int) -> list[TaskKey]:
        """Forget a task; return its units."""
        if self._unit_of:  # most often, no task is divided
            self._unit_of.pop(ordinal, None)
            self._here.pop(ordinal, None)
        return self._units.pop(ordinal)

    def units(self, ordinal: int) -> Sequence[TaskKey]:
        """Return a task's units."""
        return self._units.get(ordinal, ())

    @property
    def divided(self) -> Collection[int]:
        """The tasks that are divided."""
        return self._unit_of.keys()

    def cut(self, ordinal: int, chosen: Sequence[int]) -> list[TaskKey]:
        """Return the names of two parts of a task: the chosen items, and the others."""
        others = sorted(set(range(len(self._plan.geometry.slots(ordinal)))).difference(chosen))
        return [self._name(ordinal, tuple(offsets)) for offsets in (chosen, others) if offsets]

    def replace(self, key: TaskKey, keys: Sequence[TaskKey]) -> None:
        """Put other units in the place of one."""
        units = self._units[key.ordinal]
        place = units.index(key)
        self._units[key.ordinal] = [*units[:place], *keys, *units[place + 1 :]]
        unit_of = self._unit_of.setdefault(key.ordinal, {})
        unit_of.update((offset, unit) for unit in keys for offset in _offsets(unit))
        if here := self._here.get(
            key.ordinal
        ):  # what has come of the old unit comes to the new ones with the next report
            here.difference_update(offset for unit in keys for offset in _offsets(unit))

    def arrive(
        self, arrived: Mapping[int, tuple[int, ...]], works: Container[TaskKey]
    ) -> tuple[list[TaskKey], list[TaskKey]]:
        """Adopt which items of divided tasks the sink has.

        Return the units that are there, and those among the others that are not among the `works`: the sink had them,
        and dropped them with the reader that wanted them.
        """
        came, again = list[TaskKey](), list[TaskKey]()
        for ordinal in [*self._here, *(ordinal for ordinal in arrived if ordinal not in self._here)]:
            unit_of = self._unit_of.get(ordinal)
            if unit_of is None:
                continue
            before = self._here.get(ordinal, set())
            here = {offset for offset in arrived.get(ordinal, ()) if offset in unit_of}
            fresh = dict.fromkeys(unit_of[offset] for offset in sorted(here - before))
            came += [key for key in fresh if here.issuperset(_offsets(key))]
            gone = dict.fromkeys(unit_of[offset] for offset in sorted(before - here))
            again += [key for key in gone if key not in works]
            if here:
                self._here[ordinal] = here
            else:
                self._here.pop(ordinal, None)
        return came, again

    def single(self, key: TaskKey) -> list[TaskKey]:
        """Return the names of a unit's items, each on its own."""
        offsets = key.offsets or range(len(self._plan.geometry.slots(key.ordinal)))
        return [self._name(key.ordinal, (offset,)) for offset in offsets]

    def by_home(self, ordinal: int) -> list[TaskKey]:
        """Return the names of a task's parts by its items' homes; none if it stays whole."""
        groups = self.homes.cut(self._plan.indices(ordinal)) if self.homes else []
        return [self._name(ordinal, offsets) for offsets in groups]

    def home(self, key: TaskKey) -> str:
        """Return the host that keeps most of a unit's images, or else wants most of its samples; empty: any."""
        if self.homes:
            return self.homes.home(self._plan.indices(key.ordinal, key.which))
        return self.wanted_at(key)

    def can_wait(self, key: TaskKey) -> bool:
        """Return whether a unit may wait for a worker at its home that has a free slot and is busy."""
        return bool(self.homes) or not self.presses(key)

    def holding(self, ordinal: int, offset: int) -> TaskKey | None:
        """Return the unit of several items that holds this one."""
        unit_of = self._unit_of.get(ordinal)
        if unit_of is None:
            return next(iter(self.units(ordinal)), None)
        key = unit_of.get(offset)
        return key if key and key.offsets else None

    def _name(self, ordinal: int, offsets: tuple[int, ...]) -> TaskKey:
        alone, several = (offsets[0], ()) if len(offsets) == 1 else (None, offsets)
        return TaskKey(stream=self._plan.name, ordinal=ordinal, item_offset=alone, offsets=several)

    def validate(self, missing: Iterable[int], known: Iterable[TaskKey]) -> None:
        """Raise AssertionError if these are not the units of the missing tasks: all of them, but for what has come."""
        works = set(known)
        assert self._units.keys() == set(missing)  # noqa: S101
        assert self._unit_of.keys() == {n for n, [key, *_] in self._units.items() if key.which is not None}  # noqa: S101
        assert self._here.keys() <= self._unit_of.keys()  # noqa: S101
        found = 0
        for ordinal, keys in self._units.items():
            divided, here = self._unit_of.get(ordinal, {}), self._here.get(ordinal, set())
            assert divided == {offset: key for key in keys for offset in _offsets(key)}  # noqa: S101
            assert not divided or len(divided) == len(self._plan.geometry.slots(ordinal))  # noqa: S101
            for key in keys:
                came = key.which is not None and here.issuperset(_offsets(key))
                assert key.ordinal == ordinal  # noqa: S101
                assert came != (key in works), f"{key} is missing and no work, or came and is work"  # noqa: S101
                found += key in works
        assert found == len(works), "work for what is not missing"  # noqa: S101


def _offsets(key: TaskKey) -> tuple[int, ...]:
    """Return the offsets of a part; none of a whole task."""
    return key.offsets or (() if key.item_offset is None else (key.item_offset,))
