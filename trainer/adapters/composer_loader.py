"""MosaicML Composer: `FeedLoader` gives a loader to its Trainer, and puts the position into its checkpoints.

Composer resumes in the middle of an epoch by *spinning*: it takes all batches that it had trained on once more, and
throws them away. Only then does it restore the random numbers, and it counts them to know when the epoch ends. So a
`FeedLoader` lets it spin, over stand-ins that cost nothing, and goes on with the very next batch of the stream.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from penstock.protocol.errors import SpecError
from penstock.trainer.adapters.frameworks import missing_framework
from penstock.trainer.adapters.torch_loader import TorchLoader

try:
    from composer.core import Callback, State  # pyright: ignore[reportMissingImports]
    from composer.utils import dist  # pyright: ignore[reportMissingImports]
except ImportError as missing:
    raise missing_framework("Composer", "pip install mosaicml", missing) from missing


class FeedLoader(Callback):  # type: ignore[misc]
    """What `composer.Trainer` trains from: give it both as `train_dataloader` and among the `callbacks`.

    Composer's own checkpoints then hold the position after the batch that was trained on last, at whatever interval
    they are saved. A Trainer with `load_path` goes on with the very next batch, whose random numbers (dropout) are
    those of a run that was not interrupted; leave `spin_dataloaders` as it is. The number of processes may be another.

    Examples:
        >>> loader = penstock.composer.FeedLoader(feed.torch())  # doctest: +SKIP
        >>> trainer = Trainer(model, train_dataloader=loader, callbacks=[loader], save_folder="checkpoints", ...)
        >>> trainer.fit()
    """

    def __init__(self, loader: TorchLoader) -> None:
        """Take what `feed.torch()` returns."""
        super().__init__()
        self._loader = loader
        #: Composer's state while it trains, which says how many batches of its epoch it has trained on.
        self._state: State | None = None
        #: Whether Composer takes a batch for each earlier epoch, as it does only to set generators of random orders.
        self._spins = False
        #: The stream's epoch that the batches of Composer's epoch are from; None before the first one.
        self._epoch: int | None = None
        #: How many processes trained when the state was saved that was loaded; None if none was.
        self._saved_world_size: int | None = None

    def __repr__(self) -> str:
        """Name the loader."""
        return f"<{type(self).__name__} of {self._loader!r}>"

    @property
    def batch_size(self) -> int:
        """Samples in a batch of this rank."""
        return self._loader.batch_size

    def __len__(self) -> int:
        """Return the batches of a whole epoch for this rank, if nothing is quarantined."""
        return len(self._loader)

    def __iter__(self) -> Iterator[Any]:
        """Yield a stand-in for each batch of this epoch that Composer has trained on, then the batches after them."""
        if self._state is None:
            raise SpecError(
                f"{self!r} is iterated, but no Trainer that has it among its callbacks is training: give it both as "
                "train_dataloader and in callbacks, and evaluate or predict from a feed.torch() of its own"
            )
        if self._spins:
            return
        trained = int(self._state.timestamp.batch_in_epoch)
        for _ in range(trained):
            yield TrainedBatch()
        epoch = self._loader.feed.upcoming_epoch()
        if trained and epoch != self._epoch:
            return  # what is left of the epoch is quarantined
        self._epoch = epoch
        yield from self._loader

    def state_dict(self) -> dict[str, Any]:
        """Return the state after the batch that was yielded last: Composer calls it when it saves a checkpoint."""
        return {"feed": self._loader.state_dict(), "epoch": self._epoch, "world_size": dist.get_world_size()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on after the batch that was yielded last before `state_dict`. Raises SpecError if it is not a state."""
        try:
            feed, epoch, world_size = (state[key] for key in ("feed", "epoch", "world_size"))
        except (KeyError, TypeError):
            raise SpecError(f"not the state of a FeedLoader: {state!r}") from None
        self._loader.load_state_dict(feed)
        self._epoch, self._saved_world_size = epoch, world_size

    def after_load(self, state: State, logger: object) -> None:  # noqa: ARG002 - Composer's signature
        """Count the trained batches of the epoch in those of as many processes as there are now.

        Raises SpecError if a checkpoint was loaded that has no position.
        """
        if self._saved_world_size is None:
            if batches := int(state.timestamp.batch):
                raise SpecError(
                    f"the checkpoint {str(state.load_path)!r}, saved after {batches} batches, has no position of a "
                    "FeedLoader: it was not among the callbacks, or load_ignore_keys left it out; resume from another "
                    "checkpoint, or start over with load_weights_only=True"
                )
        elif self._saved_world_size != (now := dist.get_world_size()):
            trained = int(state.timestamp.batch_in_epoch) * self._saved_world_size // now
            state.timestamp = state.timestamp.copy(batch_in_epoch=trained)

    def fit_start(self, state: State, logger: object) -> None:  # noqa: ARG002
        """Check that it is trained from, and keep Composer from taking batches of our loaders for evaluation."""
        if state.dataloader is not self:
            raise SpecError(f"train_dataloader is {state.dataloader!r}, but {self!r} is in callbacks: give it as both")
        self._state, self._spins = state, True
        resumed = state.dataset_resumption.setdefault("eval", {})
        for evaluator in state.evaluators:
            dataloader = evaluator.dataloader.dataloader
            if dataloader is self:
                raise SpecError(f"{self!r} is for training: evaluate from a feed.torch() of a stream of its own")
            if isinstance(dataloader, TorchLoader):
                resumed[evaluator.label] = True

    def before_dataloader(self, state: State, logger: object) -> None:  # noqa: ARG002
        """Note that the next batch is for training."""
        self._spins = False

    def fit_end(self, state: State, logger: object) -> None:  # noqa: ARG002
        """Note that training is over."""
        self._state = None


class TrainedBatch(Mapping[str, Any]):
    """Stands in for a batch that was trained on before a checkpoint: Composer throws it away, unless told otherwise."""

    def __getitem__(self, key: str) -> NoReturn:
        """Raise SpecError."""
        raise _trained()

    def __getattr__(self, name: str) -> NoReturn:
        """Raise SpecError."""
        raise _trained()

    def __iter__(self) -> NoReturn:
        """Raise SpecError."""
        raise _trained()

    def __len__(self) -> int:
        """Raise SpecError."""
        raise _trained()


def _trained() -> SpecError:
    return SpecError(
        "this batch was trained on before the checkpoint, and would be trained on again: leave spin_dataloaders at "
        "True. Penstock fetches none of the batches that Composer skips"
    )
