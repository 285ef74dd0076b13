"""`Hdf5Feed`: the batches of an HDF5 file, with no worker and no socket.

Has the arguments and compares saved states; otherwise it is used like the feed of a running stack.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from penstock.protocol.errors import RefusedError, SpecError
from penstock.protocol.version import __version__
from penstock.trainer.client.ranks import find_rank
from penstock.trainer.client.session import SubscriptionConfig
from penstock.trainer.feed.batch_feed import BatchFeed, close_when_forgotten
from penstock.trainer.feed.cursor import Cursor
from penstock.trainer.hdf5.changes import Changes, Flip
from penstock.trainer.hdf5.file import SampleFile, Wanted
from penstock.trainer.hdf5.plan import FilePlan
from penstock.trainer.hdf5.supply import FileSupply

if TYPE_CHECKING:
    from penstock.trainer.adapters.normalize import BatchNormalizer

_FLIPS = ("", "horizontal", "vertical", "both")


class Hdf5Feed(BatchFeed[FilePlan]):
    """An HDF5 file's samples as batches: of an output of `penstock write`, or of another file with a row a sample.

    `for batch in feed` yields dicts of numpy arrays, by field: `image` (n, height, width, channels) and every other
    data set of numbers (`label`, `item`, `patch`, …), with the dtypes that the file has; it ends with the epoch, which
    is one pass over all rows. Every row comes once an epoch; the order follows from the seed and the file's chunks
    alone. Iterate again for the next epoch. A thread reads ahead.

    Every wait ends after `timeout_s` with DeadlineError. SourceError says what is wrong with the file, as soon as it is
    noticed; RefusedError, that a saved state belongs to another file. A feed must be used in the process that made it.

    Examples:
        >>> feed = Hdf5Feed("patches.h5", batch_size=64)  # doctest: +SKIP
        >>> model.fit(feed.dataset(), epochs=10)
    """

    def __init__(  # noqa: PLR0913 - by keyword, each with a default
        self,
        path: str | Path,
        *,
        batch_size: int | None = None,
        shuffle: bool | None = None,
        seed: int | None = None,
        recorded: bool = False,
        image: str | None = None,
        manipulation: str | int | None = None,
        fields: tuple[str, ...] | None = None,
        crop: tuple[int, int] | None = None,
        crop_at: Literal["random", "center"] = "random",
        rot90: bool = False,
        flip: Flip = "",
        rank: int | None = None,
        world_size: int | None = None,
        drop_remainder: bool | None = None,
        run_mb: float = 1.0,
        window_mb: float = 32.0,
        timeout_s: float = 120.0,
        allow_outside: bool = False,
    ) -> None:
        """Open the file.

        `batch_size` and `drop_remainder` are by default the written stream's (of files of others 32 and False), `seed`
        the written spec's (0). `shuffle` is on by default; without it rows come in the file's order. `recorded` gives
        the very batches of the stream that was written: its epochs, one after the other, in their order.

        `image` names the data set that becomes the field `image`. Of a file with one for each manipulation of the same
        patches, `manipulation` chooses: a name, a number (0: unchanged) or "random", drawn for each sample anew every
        epoch; the field `manipulation` int32 then says which. `fields` are those to read; default: all.

        `crop` cuts (height, width) out of each image, at random or the centre; `rot90` turns by 0 to 3 quarter turns;
        `flip` flips with probability 1/2 on each axis it names: all drawn from (seed, epoch, row).

        Runs of consecutive rows, about `run_mb` (10^6 bytes) and whole chunks, are shuffled; the rows of as many of
        them as make `window_mb` are then mixed; larger ones mix better. Memory: at most three windows, and what the
        program keeps: a batch is a part of its window.

        Links, external storage and parts of virtual data sets are read only below the file's folder, unless
        `allow_outside`. Raises SpecError for arguments, and SourceError for the file.
        """
        place = find_rank(rank, world_size)
        if flip not in _FLIPS or crop_at not in ("random", "center"):
            raise SpecError(
                f"flip = {flip!r}, crop_at = {crop_at!r}: flip is one of {_FLIPS}, crop_at random or center"
            )
        wanted = Wanted(
            batch_size=batch_size,
            drop_remainder=drop_remainder,
            seed=seed,
            shuffle=not recorded if shuffle is None else shuffle,
            recorded=recorded,
            fields=fields,
            image=image,
            manipulation=manipulation,
            changes=Changes(crop, crop_at, rot90, flip),
            run_mb=run_mb,
            window_mb=window_mb,
        )
        file = SampleFile(path, wanted, allow_outside=allow_outside)
        #: The file's attributes: `complete`, `stream`, `fingerprint`, `plan`, …
        self.facts = file.facts
        #: Names of the images that `manipulation` chooses among, in the order of their numbers.
        self.manipulations = file.choice.names if file.choice.said else ()
        order = file.plan.order
        batches = -(-order.run_rows * order.window_runs // (file.plan.settings.batch_size * place.world_size))
        config = SubscriptionConfig(file.plan.name, place.rank, place.world_size, None, __version__)
        self._supply = supply = FileSupply(file.plan, file.rows, config, max(2, batches))
        super().__init__(Cursor(file.name, config, timeout_s, supply.begin, file.plan))
        close_when_forgotten(self, supply)  # also where nothing was read yet

    def seek(self, position: int, fingerprint: str = "") -> None:
        """Go on from `position` (rows since the start of epoch 0), backwards too; ends the current iteration.

        Raises RefusedError if the fingerprint is that of another file, or of another order of this one.
        """
        own = self.plan.fingerprint
        if fingerprint and fingerprint != own:
            same = fingerprint.partition("-")[0] == own.partition("-")[0]
            why = (
                "the same file with other settings: give the shuffle, seed, run_mb, window_mb, manipulation, crop, "
                "rot90 and flip that it was saved with"
                if same
                else "another file, or this one as it was before: give that file, or begin anew"
            )
            raise RefusedError(f"{self.address}: the state (fingerprint {fingerprint}, here {own}) is of {why}")
        super().seek(position, fingerprint)

    def normalizer(self, roots: Mapping[str, str] | None = None) -> "BatchNormalizer":
        """Return a normaliser of the images, numpy or tensors, if the written spec leaves that to the trainer.

        `roots` maps the spec's roots to folders here: a ZCA matrix is read from its file. Raises SpecError.
        """
        from penstock.trainer.adapters.normalize import batch_normalizer  # noqa: PLC0415 - needed only here

        if self.facts.plan is None:
            raise SpecError(f"{self.address}: the file does not say how its images are normalised: do it in the model")
        return batch_normalizer(self.facts.plan, roots)

    def close(self) -> None:
        """Close the file; the feed cannot be used any more. Callable from any thread: a wait in another one ends."""
        super().close()
        self._supply.close()
