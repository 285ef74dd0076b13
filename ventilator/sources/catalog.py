"""The catalog: the listing and the plan of every stream, and the way from a task's name to its items."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Self

from penstock.protocol.errors import RemoteProtocolError, SourceError
from penstock.protocol.fingerprint import fingerprint, fingerprint_1
from penstock.protocol.messages import Item, Paths, Task, TaskKey
from penstock.protocol.plan import StreamPlan
from penstock.protocol.spec.spec import Spec, Stream
from penstock.sources.base import Listing, Roots, list_source
from penstock.sources.choice.grouping import group
from penstock.sources.choice.selection import select
from penstock.sources.suffixes import in_words
from penstock.sources.tables.progress import telling
from penstock.ventilator.sources.class_lists import check_class_lists
from penstock.ventilator.sources.item_numbers import TaskItems

#: Most paths in one message, and about how many characters: making it takes the ventilator some milliseconds.
_PAGE_PATHS, _PAGE_CHARACTERS = 4096, 262_144
#: Most bytes of targets in a task: a message's header may have 8 MB, and holds a task for each of a worker's slots.
_TARGET_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class _Entry:
    plan: StreamPlan
    listing: Listing
    items: TaskItems


class Catalog:
    """All streams of a spec, listed."""

    def __init__(self, entries: Mapping[str, _Entry], warnings: Sequence[str], notes: Sequence[str] = ()) -> None:
        """Hold what `open` found."""
        self._entries = dict(entries)
        #: Warnings about probable mistakes in the sources: class lists that differ.
        self.warnings = tuple(warnings)
        #: Notes about what was left out: files that no decoder reads.
        self.notes = tuple(notes)

    @classmethod
    def open(cls, spec: Spec, roots: Roots, tell: Callable[[str], object] = lambda _: None) -> Self:
        """List every source; `tell` gets the name of each before it is listed. Raises SourceError."""
        entries = {}
        for name, settings in spec.streams.items():
            tell(f"listing the items of stream {name!r}")
            with telling(partial(_tell_more, tell, name)):
                listed = _listed(name, settings, roots)
            grouped = group(settings, listed, f"stream {name!r}")
            listing, digest = grouped.listing, grouped.digest
            plan = StreamPlan(
                name=name,
                seed=spec.seed,
                settings=settings,
                items=grouped.items,
                groups=grouped.groups,
                shards=grouped.shards,
                classes=tuple(listing.classes),
                fingerprint=fingerprint(spec, settings, digest),
                fingerprint_1=fingerprint_1(spec, settings, digest),
                copy_digest=listing.copy_digest,
            )
            _check_tasks(plan, listing)
            entries[name] = _Entry(plan, listing, TaskItems(plan, listing.items))
        passed_over = [
            f"stream {name!r}: {words}"
            for name, entry in entries.items()
            if (words := in_words(entry.listing.passed_over))
        ]
        return cls(entries, check_class_lists([entry.plan for entry in entries.values()]), passed_over)

    @property
    def plans(self) -> tuple[StreamPlan, ...]:
        """The plan of every stream."""
        return tuple(entry.plan for entry in self._entries.values())

    def listing(self, stream: str) -> Listing:
        """Return a stream's listing."""
        return self._entries[stream].listing

    def task(self, key: TaskKey, attempt: int) -> Task:
        """Return the task, or the one item alone, that `key` names, leased to no worker.

        A whole task holds no items where workers find them by number, so that messages stay small.
        """
        entry = self._entries[key.stream]
        epoch = key.ordinal // entry.plan.geometry.tasks_per_epoch
        items = entry.items.of(key) if entry.listing.carries_items or key.which is not None else ()
        return Task(key, attempt, epoch, items)

    def name(self, stream: str, item: int) -> str:
        """Return the name of an item of a stream's whole source; empty if there is none. Any thread may call this."""
        entry = self._entries.get(stream)
        return entry.listing.path(item) if entry and 0 <= item < len(entry.listing) else ""

    def paths(self, stream: str, start: int) -> Paths:
        """Return the names of the items of a stream's whole source, from `start` on, as many as fit a message.

        Raises RemoteProtocolError if there is no such item.
        """
        entry = self._entries.get(stream)
        if entry is None or start >= len(entry.listing):
            raise RemoteProtocolError("paths", f"item {start} of stream {stream!r}: there is none")
        found: list[str] = []
        length = 0
        for index in range(start, len(entry.listing)):
            found.append(entry.listing.path(index))
            length += len(found[-1])
            if length > _PAGE_CHARACTERS or len(found) == _PAGE_PATHS:
                break
        return Paths.model_construct(stream=stream, start=start, total=len(entry.listing), paths=tuple(found))

    def items(self, key: TaskKey) -> tuple[Item, ...]:
        """Return the items of a task, or of the one item alone, that `key` names."""
        return self._entries[key.stream].items.of(key)


def _tell_more(tell: Callable[[str], object], name: str, text: str) -> None:
    tell(f"listing the items of stream {name!r}: {text}")


def _check_tasks(plan: StreamPlan, listing: Listing) -> None:
    """Raise SourceError if a task could be larger than a message because of its targets."""
    items = plan.geometry.task_items
    if items * listing.longest_row > _TARGET_BYTES:
        raise SourceError(
            f"stream {plan.name!r}: a row of the manifest has targets of {listing.longest_row} bytes, and tasks have "
            f"{items} items: give task_items = {max(1, _TARGET_BYTES // listing.longest_row)} or less"
        )


def _listed(name: str, settings: Stream, roots: Roots) -> Listing:
    """List one stream's source. Raises SourceError, also for errors of the file system."""
    source = settings.source
    try:
        return select(source, list_source(source, roots, settings.target_columns))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise SourceError(
            f"stream {name!r}: cannot list root {source.root!r}: {where}{error.strerror or error}"
        ) from error
