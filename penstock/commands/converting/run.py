"""Converts a stream's items shard by shard, several shards at once.

A thread makes a shard: it reads runs of items through a reader of its own, as a worker would, and writes what it made
of each. Decoding and encoding release the interpreter's lock.
"""

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import numpy as np

from penstock.commands.converting.folder import OutputFolder
from penstock.commands.converting.images import Recoder, Recoding
from penstock.commands.converting.shards import Sample, Write, write_shard
from penstock.protocol.errors import ItemError, SourceError
from penstock.protocol.messages import TaskKey
from penstock.protocol.plan import StreamPlan
from penstock.sources.base import Reader, Roots, open_reader
from penstock.ventilator.sources.catalog import Catalog

#: Items whose size is looked at, to find how many make a shard.
_LOOKED_AT = 64


@dataclass(frozen=True, slots=True)
class Work:
    """What is converted, and how."""

    catalog: Catalog
    plan: StreamPlan
    roots: Roots
    recoding: Recoding
    write: Write
    #: Name of a shard, by its number and how many there are.
    name: Callable[[int, int], str]


class Conversion:
    """The shards of one stream."""

    def __init__(self, work: Work, folder: OutputFolder, shard_items: int) -> None:
        """Take what to convert, and how many items a shard has."""
        self._work, self._folder, self._shard_items = work, folder, shard_items
        count = -(-work.plan.items // shard_items)
        #: Names of all shards.
        self.names = [work.name(number, count) for number in range(count)]
        self._mine = threading.local()
        self._stopped = threading.Event()

    def missing(self) -> list[int]:
        """Return the numbers of the shards that are not there yet."""
        return [number for number, name in enumerate(self.names) if not (self._folder.place / name).exists()]

    def items(self, number: int) -> range:
        """Return the items of a shard."""
        first = number * self._shard_items
        return range(first, min(first + self._shard_items, self._work.plan.items))

    def run(self, threads: int, tell: Callable[[int], object]) -> None:
        """Write the missing shards; `tell` gets how many more items are done. Raises SourceError and OSError."""
        with ThreadPoolExecutor(threads) as pool:
            futures = [pool.submit(self._make, number, tell) for number in self.missing()]
            try:
                done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            except BaseException:
                self._stop(pool)
                raise
            if failed := [each for each in done if each.exception()]:
                self._stop(pool)
                failed[0].result()

    def _stop(self, pool: ThreadPoolExecutor) -> None:
        self._stopped.set()
        pool.shutdown(cancel_futures=True)

    def _make(self, number: int, tell: Callable[[int], object]) -> None:
        """Write a shard, and before it what it lacks."""
        name, failures = self.names[number], list[dict[str, Any]]()
        listed = self._folder.failures_file(name)
        listed.unlink(missing_ok=True)  # of a shard that was not finished

        def samples() -> Iterator[Sample]:
            yield from self._samples(self.items(number), failures, tell)
            self._check(number, failures)
            if failures:
                lines = "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in failures)
                listed.write_text(lines, encoding="utf-8")

        write_shard(self._folder.place / name, samples(), self._work.plan.classes, self._work.write)

    def _check(self, number: int, failures: list[dict[str, Any]]) -> None:
        """Raise SourceError if too much of a shard failed: then rather the storage is at fault than the images.

        A single item may always be broken, also if it is the shard's only one.
        """
        count, budget = len(self.items(number)), self._work.plan.settings.failure_budget
        if len(failures) > max(1, budget * count) or len(failures) == count > 1:
            first = failures[0]
            raise SourceError(
                f"{len(failures)} of {count} items of {self.names[number]} cannot be converted, and failure_budget = "
                f"{budget:g} permits {max(1, int(budget * count))}; the first: {first['path']}: {first['reason']}. The "
                "same command goes on with the shards that are missing"
            )

    def _samples(self, items: range, failures: list[dict[str, Any]], tell: Callable[[int], object]) -> Iterator[Sample]:
        reader, recoder = self._tools()
        for first, loaded in tasks(self._work, reader, items):
            if self._stopped.is_set():
                raise SourceError("the conversion was stopped")
            for place, content in enumerate(loaded.contents):
                item = first + place
                if item not in items:
                    continue
                path = loaded.paths[place]
                try:
                    if isinstance(content, ItemError):
                        raise content
                    image = recoder.make(content)
                except ItemError as error:
                    failures.append({"item": item, "path": path, "reason": str(error)})
                else:
                    yield Sample(item, image, int(loaded.labels[place]), path)
                tell(1)

    def _tools(self) -> tuple[Reader, Recoder]:
        """Return this thread's reader and recoder."""
        if not hasattr(self._mine, "tools"):
            work = self._work
            reader = open_reader(work.plan, work.roots)
            self._mine.tools = reader, Recoder(work.plan.settings.transform, work.recoding)
        tools: tuple[Reader, Recoder] = self._mine.tools
        return tools


def tasks(work: Work, reader: Reader, items: range) -> Iterator[tuple[int, Any]]:
    """Yield the first item of each task that holds some of the items, and what was read of the task."""
    step = work.plan.geometry.task_items
    for ordinal in range(items.start // step, -(-items.stop // step)):
        yield ordinal * step, reader.read(work.catalog.task(TaskKey(stream=work.plan.name, ordinal=ordinal), 0))


def mean_bytes(work: Work) -> int:
    """Return the mean size of some converted images, spread over the source. Raises SourceError if none can be read."""
    reader, recoder = open_reader(work.plan, work.roots), Recoder(work.plan.settings.transform, work.recoding)
    sizes = list[int]()
    for item in np.unique(np.linspace(0, work.plan.items - 1, _LOOKED_AT).astype(int)).tolist():
        ordinal, offset = divmod(item, work.plan.geometry.task_items)
        task = work.catalog.task(TaskKey(stream=work.plan.name, ordinal=ordinal, item_offset=offset), 0)
        try:
            content = reader.read(task).contents[0]
            if not isinstance(content, ItemError):
                sizes.append(len(recoder.make(content).content))
        except ItemError:
            continue
    if not sizes:
        raise SourceError(f"none of {_LOOKED_AT} items that were looked at can be read; see penstock preview")
    return max(1, sum(sizes) // len(sizes))
