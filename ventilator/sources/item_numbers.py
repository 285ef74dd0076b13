"""Which items a task holds: found for many tasks at once, since those that follow are asked for next."""

from collections.abc import Callable, Sequence

from penstock.protocol.messages import Item, TaskKey
from penstock.protocol.plan import StreamPlan

#: Items that are found at once, about; runs that are kept: those of the readers of a stream, and of what is repeated.
_ITEMS, _KEPT = 4096, 16
#: The same of items with what a task tells of them, and how many characters these may have in their targets' cells.
_TOLD_ITEMS, _TOLD_KEPT, _TOLD_TEXT = 64, 64, 32_000_000


class ItemNumbers:
    """The items of one stream's tasks, as indices in the whole source."""

    def __init__(self, plan: StreamPlan) -> None:
        """Start with none found."""
        self._plan = plan
        self._task_items, self._tasks_per_epoch = plan.geometry.task_items, plan.geometry.tasks_per_epoch
        #: Tasks of a run.
        self._tasks = max(1, _ITEMS // self._task_items)
        #: Runs by epoch and number, the one that was used last at the end.
        self._runs: dict[tuple[int, int], list[int]] = {}
        self._last: tuple[tuple[int, int], list[int]] = ((-1, -1), [])

    def of(self, key: TaskKey) -> Sequence[int]:
        """Return the items of a unit of work."""
        items = self.of_task(key.ordinal)
        if key.offsets:
            return [items[offset] for offset in key.offsets]
        return items if key.item_offset is None else items[key.item_offset : key.item_offset + 1]

    def of_task(self, ordinal: int) -> list[int]:
        """Return the items of a whole task."""
        epoch, index = divmod(ordinal, self._tasks_per_epoch)
        number, place = divmod(index, self._tasks)
        which, run = self._last
        if which != (epoch, number):
            run = self._run(epoch, number)
        return run[place * self._task_items : (place + 1) * self._task_items]

    def _run(self, epoch: int, number: int) -> list[int]:
        which = (epoch, number)
        run = self._runs.pop(which, None)
        if run is None:
            first = number * self._tasks * self._task_items
            last = min(first + self._tasks * self._task_items, self._plan.geometry.items)
            run = self._plan.items_at(epoch, range(first, last)).tolist()
        self._runs[which] = run
        self._last = (which, run)
        if len(self._runs) > _KEPT:
            del self._runs[next(iter(self._runs))]
        return run


class TaskItems:
    """The items of one stream's tasks, as tasks carry them."""

    def __init__(self, plan: StreamPlan, look_up: Callable[[Sequence[int]], list[Item]]) -> None:
        """Start with none found; `look_up` returns items by their indices in the whole source."""
        self._plan, self._look_up, self._numbers = plan, look_up, ItemNumbers(plan)
        #: Tasks of a run.
        self._tasks = max(1, _TOLD_ITEMS // plan.geometry.task_items)
        #: Each task's items, in runs by number, the one that was found last at the end; the characters of their cells.
        self._runs: dict[int, list[tuple[Item, ...]]] = {}
        self._text: dict[int, int] = {}
        self._text_kept = 0

    def of(self, key: TaskKey) -> tuple[Item, ...]:
        """Return the items of a unit of work."""
        if self._tasks == 1 or key.which is not None:
            return tuple(self._look_up(self._numbers.of(key)))
        number, place = divmod(key.ordinal, self._tasks)
        run = self._runs.get(number)
        return (self._run(number) if run is None else run)[place]

    def _run(self, number: int) -> list[tuple[Item, ...]]:
        first = number * self._tasks
        each = [self._numbers.of_task(ordinal) for ordinal in range(first, first + self._tasks)]
        items = self._look_up([index for indices in each for index in indices])
        if text := sum(len(cell) for item in items for cell in item.cells):
            self._text[number] = text
            self._text_kept += text
        found = iter(items)
        run = self._runs[number] = [tuple([next(found) for _ in indices]) for indices in each]
        while len(self._runs) > _TOLD_KEPT or (self._text_kept > _TOLD_TEXT and len(self._runs) > 1):
            oldest = next(iter(self._runs))
            del self._runs[oldest]
            self._text_kept -= self._text.pop(oldest, 0)
        return run
