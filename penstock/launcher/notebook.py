"""Shows a stack in a notebook: whether it runs, its verdict, and the progress of its streams."""

from collections.abc import Iterator
from typing import Protocol

from penstock.protocol.errors import StackError
from penstock.protocol.snapshot import Snapshot
from penstock.protocol.spec import html
from penstock.terminal.words import several


class Stack(Protocol):
    """The part of a stack that is shown."""

    workers: int

    @property
    def running(self) -> bool:
        """Whether it runs."""
        ...

    @property
    def state(self) -> str:
        """The same in a few words."""
        ...

    @property
    def dashboard(self) -> str:
        """The page's address, or nothing."""
        ...

    def snapshot(self) -> Snapshot:
        """Return its snapshot. Raises StackError."""
        ...


def stack_html(stack: Stack) -> str:
    """Return a stack: its verdict and progress if it runs and answers."""
    name = f"Stack with {several(stack.workers, 'worker')}"
    try:
        snapshot = stack.snapshot() if stack.running else None
    except StackError:
        snapshot = None
    return html.box(name, stack.state) if snapshot is None else snapshot_html(name, stack, snapshot)


def snapshot_html(name: str, stack: Stack, snapshot: Snapshot) -> str:
    """Return a stack that answers."""
    verdict = snapshot.verdict
    word = f"{verdict.word}: {verdict.cause}" if verdict.cause else verdict.word
    parts = [f"<div><strong>{html.text(word.capitalize())}</strong></div>"]
    sentence = verdict.sentence.removeprefix(f"{verdict.word}: ")
    parts.append(html.line(sentence[:1].upper() + sentence[1:]))
    parts.append(html.table(("stream", "items", "epoch", "progress", "samples/s"), _streams(snapshot)))
    busy = [f"{worker.busy:.0%}" for worker in snapshot.workers]
    if busy:  # none has reported in the first second
        parts.append(html.line(f"workers busy: {', '.join(busy[:16])}{' …' if len(busy) > 16 else ''}"))  # noqa: PLR2004
    quarantined = snapshot.sink.quarantined if snapshot.sink else 0
    if quarantined:
        newest = f", last {snapshot.ledger[0].path}: {snapshot.ledger[0].reason}" if snapshot.ledger else ""
        parts.append(html.line(f"{quarantined:,} quarantined{newest}"))
    if stack.dashboard:
        url = html.text(stack.dashboard)
        parts.append(f"<div>dashboard: <a href='{url}'>{url}</a></div>")
    return html.box(name, stack.state, *parts)


def _streams(snapshot: Snapshot) -> Iterator[tuple[str, ...]]:
    for stream in snapshot.streams:
        name, items = html.text(stream.name), f"{stream.items:,}"
        readers = [trainer for trainer in snapshot.trainers if trainer.stats.stream == stream.name]
        if not readers:
            yield name, items, "", "no trainer", ""
        for trainer in readers:
            epoch = trainer.stats.epoch
            done = epoch.delivered + epoch.quarantined + epoch.dropped
            yield name, items, f"{epoch.epoch + 1}", html.bar(done, epoch.expected), f"{trainer.rate:,.0f}"
