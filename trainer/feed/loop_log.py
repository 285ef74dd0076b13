"""`FeedLog`: writes how a training loop is fed to Weights & Biases and TensorBoard, next to the loop's own numbers.

Neither is imported: a run has `log`, a writer has `add_scalar` and `add_text`. The verdict is asked for on a thread, so
that a ventilator that does not answer delays no step.
"""

import threading
from collections.abc import Callable
from typing import Any, Protocol

from penstock.observe.status_client import Onlooker
from penstock.protocol.errors import PenstockError, SpecError
from penstock.protocol.snapshot import Snapshot
from penstock.protocol.transport.addresses import check_peer_address
from penstock.protocol.transport.keys import open_keys
from penstock.protocol.transport.own_sockets import resolve
from penstock.trainer.feed.stats import FeedStats

#: Seconds that a ventilator may take to answer.
_ANSWER_S = 10.0
#: What precedes every name that is logged.
_PREFIX = "penstock/"


class HasSnapshot(Protocol):
    """A stack that says how it goes."""

    def snapshot(self) -> Snapshot:
        """Return the ventilator's last snapshot. Raises PenstockError if it does not answer."""
        ...


class FeedLog:
    """Logs, every so many steps, what the loop got since the last time: the numbers that `rates` describes.

    Examples:
        >>> log = penstock.FeedLog(loader, wandb=run, stack="tcp://head:5555")  # doctest: +SKIP
        >>> for batch in loader:  # doctest: +SKIP
        ...     train(batch)
        ...     log.step()
    """

    def __init__(
        self,
        feed: Any,
        *,
        wandb: Any = None,
        tensorboard: Any = None,
        every_steps: int = 100,
        stack: HasSnapshot | str | None = None,
        keys: str = "",
    ) -> None:
        """Take a feed, or a loader of one.

        `wandb` is a run of Weights & Biases (or a Lightning `WandbLogger`'s `experiment`), `tensorboard` a
        `SummaryWriter`. `stack` is a `LocalStack` or a ventilator's address (with `keys`, the folder of its keys): with
        it, the verdict's word is logged too. Raises SpecError if there is nothing to log to.
        """
        if wandb is None and tensorboard is None:
            raise SpecError("FeedLog without a target: give wandb=run, tensorboard=writer, or both")
        if every_steps < 1:
            raise SpecError(f"every_steps = {every_steps}: give 1 or more")
        self._stats: FeedStats = getattr(feed, "feed", feed).stats
        self._wandb, self._tensorboard, self._every = wandb, tensorboard, every_steps
        self._verdict = None if stack is None else _Verdict(_asking(stack, keys))
        self._steps = 0
        self._before = _Moment(self._stats)

    def step(self, step: int | None = None) -> dict[str, float | str]:
        """Count a training step; log if it is time to. Return what was logged; else nothing.

        `step` is the number to log it by; default: TensorBoard gets the steps counted here, and the run counts its own.
        """
        self._steps += 1
        if self._steps % self._every:
            return {}
        now = _Moment(self._stats)
        numbers, self._before = rates(self._before, now), now
        word = self._verdict.word() if self._verdict else ""
        logged: dict[str, float | str] = {f"{_PREFIX}{name}": value for name, value in numbers.items()}
        if word:
            logged[f"{_PREFIX}verdict"] = word
        if self._wandb is not None:
            self._wandb.log(logged, **({} if step is None else {"step": step}))
        if self._tensorboard is not None:
            self._write(logged, self._steps if step is None else step)
        return logged

    def _write(self, logged: dict[str, float | str], step: int) -> None:
        for name, value in logged.items():
            add = self._tensorboard.add_text if isinstance(value, str) else self._tensorboard.add_scalar
            add(name, value, step)


class _Moment:
    """The counts of a feed at one moment."""

    def __init__(self, stats: FeedStats) -> None:
        """Take them."""
        waits = stats.waits()
        self.wait_s, self.busy_s, self.copy_s, self.samples = waits.wait_s, waits.busy_s, waits.copy_s, stats.samples


def rates(before: _Moment, now: _Moment) -> dict[str, float]:
    """Return what happened between two moments.

    `samples_per_s`: samples that the feed handed out, those included that are on their way to the device.
    `wait_fraction`: part of the loop's time that it waited for a batch, 0 to 1. `copy_fraction`: time that copies to
    the device took, as a part of the loop's time; they run while the loop computes, so only where both are high is the
    copy what the loop waits for.
    """
    wait_s, busy_s = now.wait_s - before.wait_s, now.busy_s - before.busy_s
    seconds = max(wait_s + busy_s, 1e-9)
    return {
        "samples_per_s": (now.samples - before.samples) / seconds,
        "wait_fraction": wait_s / seconds,
        "copy_fraction": (now.copy_s - before.copy_s) / seconds,
    }


def _asking(stack: HasSnapshot | str, keys: str) -> Callable[[], Snapshot]:
    """Return what asks a stack for its snapshot. Raises SpecError for something else than a stack or an address."""
    if not isinstance(stack, str):
        if not hasattr(stack, "snapshot"):
            raise SpecError(f"stack = {stack!r}: give a LocalStack, or a ventilator's address such as tcp://head:5555")
        return stack.snapshot
    address = resolve(stack)
    check_peer_address(address)
    open_keys(keys, "trainer")

    def ask() -> Snapshot:
        with Onlooker(address, keys, timeout_s=_ANSWER_S) as onlooker:
            return onlooker.look(ledger=0)

    return ask


class _Verdict:
    """The last word that is known of a stack; asked for anew, on a thread, each time that it is read."""

    def __init__(self, ask: Callable[[], Snapshot]) -> None:
        """Begin to ask."""
        self._ask, self._last = ask, ""
        self._asking: threading.Thread | None = None
        self._start()

    def word(self) -> str:
        """Return the word of the last answer; `unknown` after none; empty before the first."""
        if self._asking is None or not self._asking.is_alive():
            self._start()
        return self._last

    def _start(self) -> None:
        self._asking = threading.Thread(target=self._fetch, name="penstock-verdict", daemon=True)
        self._asking.start()

    def _fetch(self) -> None:
        try:
            self._last = self._ask().verdict.word
        except PenstockError:  # it is restarted, or stopped: training goes on
            self._last = "unknown"
