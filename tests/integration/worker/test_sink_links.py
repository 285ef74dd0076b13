"""A worker's threads with several real sockets to push to: each sink gets its rows, made once, and waits for nobody."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import structlog
from support.images import write_images
from support.imaging.pipelines import make_plan, make_task
from support.streams import until

from penstock.protocol import wire
from penstock.protocol.messages import Destination, Result, SinkAddress, Task
from penstock.protocol.transport.shared_memory import Attachments
from penstock.protocol.transport.sockets import Hub
from penstock.protocol.wire import Array
from penstock.worker.executor import Executor, Setup
from penstock.worker.imaging.pipeline import Pipeline

pytestmark = pytest.mark.integration

_PLAN = make_plan({"resize": {"height": 96, "width": 96}})
#: Task 5 of this plan has the positions 40 to 47; a sample is larger than what would not be worth shared memory.
PLAN = _PLAN.model_copy(update={"settings": _PLAN.settings.model_copy(update={"task_items": 8})})


@dataclass
class Taker:
    """A sink's socket for results."""

    name: str
    hub: Hub
    address: str

    def __post_init__(self) -> None:
        """Bind."""
        self.pull = self.hub.pull(self.address, {"worker": wire.kinds(Result)})

    def at(self, incarnation: str = "1") -> SinkAddress:
        """Return where workers find it."""
        return SinkAddress(name=self.name, results=self.address, incarnation=incarnation)

    def next(self) -> tuple[Result, list[Array]]:
        """Return the next result, as soon as it comes; its memory is released with the arrays."""

        def received() -> tuple[Result, list[Array]] | None:
            for _, message, arrays in self.pull.receive(1):
                assert isinstance(message, Result)
                assert self.hub.memory is not None
                self.hub.memory.accept(message.offers)
                return message, arrays
            return None

        found = until(received, f"a result at {self.name}")
        assert found is not None
        return found


@pytest.fixture
def takers(tmp_path: Path) -> Iterator[list[Taker]]:
    """Return two named sinks and one without a name."""
    opened = []
    for name in ("a", "b", ""):
        hub = Hub(structlog.get_logger())
        hub.memory = Attachments(releases=True)
        opened.append(Taker(name, hub, f"ipc://{tmp_path}/{name or 'only'}.sock"))
    yield opened
    for taker in opened:
        taker.hub.close()


Start = Callable[..., Executor]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Return what starts a worker's threads with some sinks."""
    hub = Hub(structlog.get_logger())
    executor = Executor(hub, "host/1")
    pipeline = Pipeline(PLAN, {"photos": tmp_path / "photos"})

    def configure(sinks: Sequence[SinkAddress], *near: str) -> Executor:
        executor.configure(Setup({"train": pipeline}, sinks, 64_000_000, frozenset(near)))
        return executor

    yield configure
    assert executor.stop(10.0)
    assert executor.error is None
    hub.close()


@pytest.fixture
def task(tmp_path: Path) -> Task:
    """Return a task of eight files: JPEG, but for the third one."""
    files = write_images(tmp_path / "photos", count=4, size=(120, 140))
    files[2].write_bytes(b"no image")
    return make_task([file.relative_to(tmp_path / "photos").as_posix() for file in files])


def bound_for(task: Task, **destinations: tuple[tuple[int, int], ...]) -> Task:
    """Return the task with the positions that each named sink gets."""
    return task.replaced(
        destinations=tuple(Destination(sink=name, positions=each) for name, each in destinations.items())
    )


def whole(task: Task, tmp_path: Path) -> list[Array]:
    """Return what one worker alone makes of the task."""
    return Pipeline(PLAN, {"photos": tmp_path / "photos"}).run(task).arrays


def test_each_sink_gets_its_rows_and_all_failures(
    takers: list[Taker], start: Start, task: Task, tmp_path: Path
) -> None:
    """Rows that follow each other and others, the very bytes of a whole task; the task was made once."""
    executor = start([taker.at() for taker in takers[:2]])
    executor.submit(bound_for(task, a=((40, 41), (44, 46)), b=((41, 44), (46, 48))))
    arrays = whole(task, tmp_path)
    for taker, rows, shares in (
        (takers[0], [0, 3, 4], ((40, 41), (44, 46))),
        (takers[1], [1, 2, 5, 6], ((41, 44), (46, 48))),
    ):
        result, got = taker.next()
        assert (shares, [2]) == (result.shares, [failure.offset for failure in result.failures])
        assert len(task.items) == len(result.names)
        for array, mine in zip(arrays, got, strict=True):
            np.testing.assert_array_equal(array[rows], mine)
    until(executor.finished, "the task to be reported")
    assert (1, 7, 1) == (executor.counters.tasks, executor.counters.samples, executor.counters.failures)


def test_a_sink_that_only_hears_what_failed_gets_no_frames(takers: list[Taker], start: Start, task: Task) -> None:
    """One gets everything, the other one the failures."""
    executor = start([taker.at() for taker in takers[:2]])
    executor.submit(bound_for(task, a=((40, 48),), b=()))
    result, arrays = takers[0].next()
    assert [7] * len(PLAN.schema) == [len(array) for array in arrays]
    result, arrays = takers[1].next()
    assert ((), (), []) == (result.shares, result.frames, arrays)
    assert [2] == [failure.offset for failure in result.failures]


def test_memory_is_lent_to_each_sink_apart(takers: list[Taker], start: Start, task: Task, tmp_path: Path) -> None:
    """Once sinks have opened what was offered, rows come by reference, no segment twice; the bytes stay right."""
    executor = start([taker.at() for taker in takers[:2]])
    arrays = whole(task, tmp_path)
    shared: dict[str, set[str]] = {"a": set(), "b": set()}
    for _ in range(6):
        executor.submit(bound_for(task, a=((40, 44),), b=((44, 48),)))
        for taker, rows in ((takers[0], slice(0, 3)), (takers[1], slice(3, 7))):
            result, got = taker.next()
            shared[taker.name] |= {reference.token for reference in result.memory}
            for array, mine in zip(arrays, got, strict=True):
                np.testing.assert_array_equal(array[rows], mine)
        executor.submit(bound_for(task, a=((40, 48),)))  # all to one: made in its memory
        result, got = takers[0].next()
        np.testing.assert_array_equal(arrays[0], got[0])
        shared["a"] |= {reference.token for reference in result.memory}
    assert shared["a"]
    assert shared["b"]
    assert not shared["a"] & shared["b"]


def test_a_sink_that_is_away_keeps_nothing_from_the_others(takers: list[Taker], start: Start, task: Task) -> None:
    """The other sink gets its rows at once, and the worker says which one it waits for; the rest comes later."""
    a, b, _ = takers
    a.pull.close()
    executor = start([a.at(), b.at()])
    executor.submit(bound_for(task, a=((40, 44),), b=((44, 48),)))
    result, _ = b.next()
    assert ((44, 48),) == result.shares
    cut = until(lambda: executor.cut, "the worker to notice")
    assert cut is not None
    assert "a" == cut.sink.name
    a.pull = a.hub.pull(a.address, {"worker": wire.kinds(Result)})
    result, _ = a.next()
    assert ((40, 44),) == result.shares
    until(executor.finished, "the task to be reported")
    assert executor.cut is None


def test_what_is_for_a_sink_that_is_gone_is_dropped(takers: list[Taker], start: Start, task: Task) -> None:
    """Whether it went before the task was made or while its result waited; nothing waits for it any more."""
    a, b, _ = takers
    a.pull.close()
    executor = start([a.at(), b.at()])
    executor.submit(bound_for(task, a=((40, 44),), b=((44, 48),)))
    b.next()
    until(lambda: executor.cut, "the worker to notice")
    start([b.at()])
    until(executor.finished, "the task to be reported")
    executor.submit(bound_for(task, a=((40, 44),), b=((44, 48),)))
    result, _ = b.next()
    assert ((44, 48),) == result.shares


def test_a_sink_without_a_name_gets_all_rows(takers: list[Taker], start: Start, task: Task, tmp_path: Path) -> None:
    """A task without destinations waits for it, and its result says nothing of shares."""
    executor = start([])
    executor.submit(task)
    start([takers[2].at()])
    result, got = takers[2].next()
    assert result.shares is None
    for array, mine in zip(whole(task, tmp_path), got, strict=True):
        np.testing.assert_array_equal(array, mine)


def test_a_sink_that_moved_is_found_at_its_new_address(takers: list[Taker], start: Start, task: Task) -> None:
    """Another one of the same name takes its place: what waits goes there."""
    a, b, only = takers
    a.pull.close()
    executor = start([a.at(), b.at()])
    executor.submit(bound_for(task, a=((40, 48),)))
    until(lambda: executor.cut, "the worker to notice")
    start([SinkAddress(name="a", results=only.address, incarnation="2"), b.at()])
    result, _ = only.next()
    assert ((40, 48),) == result.shares


def test_samples_for_sinks_on_the_same_host_count_once_they_went(takers: list[Taker], start: Start, task: Task) -> None:
    """Each once, also if two sinks get it; not those for other hosts, those that wait, and those that are dropped."""
    a, b, _ = takers
    executor = start([a.at(), b.at()], "a", "b")
    executor.submit(bound_for(task, a=((40, 46),), b=((43, 48),)))
    a.next()
    b.next()
    until(executor.finished, "the task to be reported")
    stats = executor.stats(0.0)
    assert (7 * PLAN.sample_bytes, 7 * PLAN.sample_bytes) == (stats.bytes, stats.near_bytes)
    start([a.at(), b.at()], "a")
    a.pull.close()
    for _ in range(1000):  # until the connection's buffers are full
        if executor.cut:
            break
        executor.submit(bound_for(task, a=((40, 44),), b=((44, 48),)))
        b.next()
        until(lambda: executor.finished() or executor.cut, "the task to be reported, or the worker to wait for a")
    until(lambda: executor.cut, "the worker to wait for a")
    waiting = executor.stats(0.0)
    assert waiting.near_bytes == stats.near_bytes + 3 * PLAN.sample_bytes * (waiting.tasks - stats.tasks)
    start([b.at()])
    until(executor.finished, "the task to be reported")
    assert waiting.near_bytes == executor.stats(0.0).near_bytes
