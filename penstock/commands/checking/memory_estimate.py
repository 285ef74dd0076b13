"""Computes an upper bound of a stack's memory, term by term, each with its reason. Pure arithmetic over plans.

The constants below describe each part's buffers; a test compares the sum with running stacks. MB are 10^6 bytes.
"""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from penstock.commands.checking.cache_estimate import ImageFile, estimate_cache, has_halved_colors
from penstock.protocol.errors import ItemError
from penstock.protocol.plan import ENOUGH_TASKS, MOST_BLOCKS, StreamPlan
from penstock.protocol.records import TaskKey
from penstock.protocol.spec.roots import is_url
from penstock.protocol.transport.shared_memory import FREE_SEGMENTS
from penstock.sources.base import Listing, Roots, open_reader
from penstock.ventilator.sources.catalog import Catalog
from penstock.worker.imaging.limits import COSTS, most_bytes, usual_bytes

#: Programs without any sample (bytes): interpreter, libraries and what the allocator keeps. Resident size on Linux with
#: Python 3.11, shared pages counted each time: 63 to 110 MB were seen, these leave a margin.
_VENTILATOR_BYTES, _SINK_BYTES, _WORKER_BYTES = 90_000_000, 90_000_000, 130_000_000
#: Tasks of a worker whose samples exist: the one that is made, the one that is sent, four queued (the PUSH's limit);
#: and as many again whose shared memory is free for the next ones.
_TASKS_MADE = 6 + FREE_SEGMENTS
#: Tasks of a worker whose files are in memory: two read ahead, one being read, one being decoded.
_TASKS_READ = 4
#: Batches that a trainer holds besides those in transit: two that `dataset()` prefetches, one that is trained on, one
#: that is being joined.
_BATCHES_HELD = 4
#: Images of this size, decoded, that a worker holds: the decoder's buffer, and the resized or converted image.
_DECODED = 2
#: Items that are read to estimate the size of the others.
_LOOKED_AT = 64
#: Of those below a URL: so many.
_ASKED_FOR = 8


@dataclass(frozen=True, slots=True)
class Files:
    """The sizes of some of a source's files."""

    #: How many were examined and could be read.
    seen: int
    #: Mean size of a file (bytes) and largest image (pixels).
    mean_bytes: int
    largest_pixels: int
    #: Most memory (bytes) that decoding one of them takes, as its format and size say.
    decoding_bytes: int
    #: Size of each image file; empty if the source holds pixels.
    images: tuple[ImageFile, ...] = ()


@dataclass(frozen=True, slots=True)
class Term:
    """One part of the sum."""

    what: str
    bytes: int
    why: str

    @property
    def mb(self) -> float:
        """Size in MB."""
        return self.bytes / 1e6


@dataclass(frozen=True, slots=True)
class Use:
    """One stream and how it is used."""

    plan: StreamPlan
    listing: Listing
    files: Files


def look_at(catalog: Catalog, plan: StreamPlan, roots: Roots) -> Files:
    """Read some of a stream's items and their images' headers; what cannot be read is left out."""
    listing = catalog.listing(plan.name)
    if (alike := listing.image_size) is not None:
        return Files(len(listing), alike.bytes, alike.pixels, _DECODED * 3 * alike.pixels)
    reader = open_reader(plan, roots)
    count = _ASKED_FOR if is_url(str(roots[plan.settings.source.root])) else _LOOKED_AT
    found: list[_Measured] = []
    for slot in np.unique(np.linspace(0, plan.items - 1, count).astype(int)).tolist():
        ordinal, offset = divmod(slot, plan.geometry.task_items)
        task = catalog.task(TaskKey(stream=plan.name, ordinal=ordinal, item_offset=offset), 0)
        part = plan.parts_of(np.array([task.items[0].item]))
        measured = _measure(reader.read(task).contents[0], 0 if part is None else int(part[0]))
        if measured is not None:
            found.append(measured)
    return Files(
        len(found),
        sum(each.bytes for each in found) // max(len(found), 1),
        max((each.pixels for each in found), default=0),
        max((each.decoding_bytes for each in found), default=0),
        tuple(each.image for each in found if each.image is not None),
    )


@dataclass(frozen=True, slots=True)
class _Measured:
    """An item's size (bytes), its pixels and the bytes that decoding takes; its image if it is a file."""

    bytes: int
    pixels: int
    decoding_bytes: int
    image: ImageFile | None = None


def _measure(content: bytes | npt.NDArray[np.uint8] | ItemError, part: int) -> _Measured | None:
    """Return the sizes of an item of some part of a mixture, or of no mixture; None if it cannot be read."""
    if isinstance(content, np.ndarray):
        pixels = content.shape[0] * content.shape[1]
        return _Measured(content.nbytes, pixels, _DECODED * 3 * pixels)
    if isinstance(content, ItemError):
        return None
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(BytesIO(content)) as image:
            pixels, kind = image.width * image.height, image.format
            file = ImageFile(image.height, image.width, kind in ("JPEG", "MPO"), part, has_halved_colors(image))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    return _Measured(len(content), pixels, usual_bytes(kind, pixels), file)


def estimate(uses: Sequence[Use], *, workers: int, world_size: int, prefetch: int | None) -> list[Term]:
    """Return the terms for streams that are all in use at once, by `world_size` trainers each."""
    terms: list[Term] = []
    for use in uses:
        plan = use.plan
        window, block = plan.window(world_size), min(plan.geometry.block_samples, plan.geometry.samples_per_epoch)
        batch = plan.settings.batch_size * plan.sample_bytes
        asked = plan.default_prefetch if prefetch is None else prefetch
        ahead = asked + 1 + _BATCHES_HELD
        terms += [
            Term(
                f"sink, {plan.name}",
                world_size * (window + 2 * block) * plan.sample_bytes,
                f"{_window_words(plan, world_size)}, and the two blocks ({block:,} samples each) at its ends"
                + (f", for each of {world_size} trainers: shared while they keep step" if world_size > 1 else ""),
            ),
            Term(
                f"trainers, {plan.name}",
                world_size * ahead * batch,
                f"{world_size} × ({asked} + 1 coming, {_BATCHES_HELD} in hand) batches of {batch / 1e6:.1f} MB",
            ),
        ]
    if workers:
        terms += _workers(uses, workers)
    listed = sum(use.listing.held_bytes for use in uses)
    programs = _VENTILATOR_BYTES + _SINK_BYTES + workers * _WORKER_BYTES
    return [
        *terms,
        Term("ventilator", listed, f"paths and labels of {sum(len(use.listing) for use in uses):,} items"),
        Term("programs", programs, f"interpreters and libraries of ventilator, sink and {_count(workers, 'worker')}"),
    ]


def total(terms: Iterable[Term]) -> float:
    """Return the sum in MB."""
    return sum(term.mb for term in terms)


def _window_words(plan: StreamPlan, world_size: int) -> str:
    """Say what decides how large the window is, and its size unless that is `window_mb` itself."""
    window, by_mb = plan.window(world_size), plan.window_by_mb
    by_epochs = plan.settings.window_epochs * plan.geometry.samples_per_epoch
    mb, epochs = f"window_mb = {plan.settings.window_mb:g}", f"window_epochs = {plan.settings.window_epochs}"
    if window == by_mb:
        return mb
    if window > by_mb:
        words = f"{mb} is less than the least, two batches a trainer and two blocks"
    elif window > by_epochs:
        words = f"{epochs} is less than the least, {ENOUGH_TASKS} tasks, or two batches a trainer and two blocks"
    else:
        words = epochs if window == by_epochs else f"{MOST_BLOCKS:,} blocks at most"
    return f"{words}: {window * plan.sample_bytes / 1e6:,.1f} MB"


def _workers(uses: Sequence[Use], workers: int) -> list[Term]:
    """Return the memory of workers: they may hold any mixture of streams, so the largest of each counts."""

    def largest(sizes: Iterable[int]) -> int:
        return max(sizes, default=0)

    items = [min(use.plan.geometry.task_items, use.plan.items) for use in uses]
    tasks = [count * use.plan.settings.patches * use.plan.sample_bytes for count, use in zip(items, uses, strict=True)]
    read = [count * _read_bytes(use) for count, use in zip(items, uses, strict=True)]
    pixels = largest(use.files.largest_pixels for use in uses)
    seen = sum(use.files.seen for use in uses)
    working = largest(size.working_bytes for use in uses if (size := use.listing.image_size) is not None)
    packed = [Term("workers, chunks", workers * working, f"{workers} × compressed arrays or chunks, unpacked")]
    decoding = largest(use.files.decoding_bytes for use in uses)
    transforms = [transform for use in uses for transform in use.plan.settings.transforms]
    limit = max((transform.max_megapixels for transform in transforms), default=0.0)
    worst = max(COSTS, key=lambda kind: most_bytes(kind, int(limit * 1e6)))
    worst_mb = most_bytes(worst, int(limit * 1e6)) // 1_000_000
    return [
        Term(
            "workers, samples",
            workers * _TASKS_MADE * largest(tasks),
            f"{workers} × {_TASKS_MADE} tasks (made, sent, queued, free) of {largest(tasks) / 1e6:.1f} MB",
        ),
        Term(
            "workers, files",
            workers * _TASKS_READ * largest(read),
            f"{workers} × {_TASKS_READ} tasks' files of {largest(read) / 1e6:.1f} MB, as the mean of {seen} files says",
        ),
        *(packed if working else ()),
        Term(
            "workers, decoding",
            workers * decoding,
            f"{workers} × {decoding / 1e6:.1f} MB, the costliest of {seen} files (to {pixels / 1e6:.1f} megapixels); "
            f"one as large as max_megapixels allows takes up to {worst_mb:,} MB ({worst})",
        ),
    ]


def _read_bytes(use: Use) -> int:
    """Return the mean bytes of an item that was read: its file, or its image from the cache."""
    if use.plan.settings.cache is None:
        return use.files.mean_bytes
    return max(use.files.mean_bytes, estimate_cache(use.plan, use.files.images).image_bytes)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
