"""Estimates what a cache of decoded images would hold of a stream, from the sizes of some of its images."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile, get_sampling

from penstock.protocol.plan import StreamPlan
from penstock.sources.choice.mixture import MixtureSource
from penstock.worker.imaging.cache.entry import HEADER_BYTES
from penstock.worker.imaging.cache.prefix import fixed_steps, kept_bytes

#: Pillow's number for halved colours (4:2:0).
_HALVED = 2


@dataclass(frozen=True, slots=True)
class ImageFile:
    """The size of an image file that was looked at."""

    height: int
    width: int
    jpeg: bool
    #: The part of a mixture that it belongs to.
    part: int = 0
    #: Whether it is a baseline JPEG whose colours are halved along both sides.
    halved: bool = False


@dataclass(frozen=True, slots=True)
class CacheEstimate:
    """What a cache of decoded images holds of a stream."""

    #: What is kept of an image, in words.
    kept: str
    #: Fraction of the images that were looked at that are kept.
    fraction: float
    #: Mean size of a kept image on the disk (bytes), and of all that are kept of the stream (GB).
    image_bytes: int
    gb: float
    #: What the stream gives the cache (GB); None: it has none.
    given_gb: float | None

    def as_json(self) -> dict[str, object]:
        """Return it as `penstock check --json` shows it."""
        return asdict(self)

    @property
    def sentence(self) -> str:
        """What `penstock check` says."""
        if not self.fraction:
            return f"cache: {self.kept}"
        part = "" if self.fraction == 1.0 else f" of {self.fraction:.0%} of the images"
        size = f"{self.image_bytes:,} bytes each, {self.gb:,.2f} GB in all"
        if self.given_gb is None:
            return f"cache: none; with one, {self.kept}{part}, {size}, and decoded once, not once an epoch"
        if self.given_gb >= self.gb:
            fits = f"they fit into cache.gb = {self.given_gb:g}"
        else:
            fits = f"cache.gb = {self.given_gb:g} holds {self.given_gb / self.gb:.0%} of them"
        return f"cache: {self.kept}{part}, {size}; {fits}"


def has_halved_colors(image: Image.Image) -> bool:
    """Return whether an image is a baseline JPEG whose colours are halved along both sides."""
    baseline = isinstance(image, JpegImageFile) and not image.info.get("progressive")
    return baseline and get_sampling(image) == _HALVED


def estimate_cache(plan: StreamPlan, images: Sequence[ImageFile]) -> CacheEstimate:
    """Return the estimate for a stream, of whose images these were looked at."""
    settings, plans = plan.settings, dict(_plans_of_parts(plan))
    given = None if settings.cache is None else settings.cache.gb
    numbered = list(plans.values())
    sizes = [
        kept_bytes(numbered[image.part], (image.height, image.width), jpeg=image.jpeg, halved=image.halved)
        for image in images
    ]
    kept = [size for size in sizes if size is not None]
    if not images:
        return CacheEstimate("nothing is kept: the source holds pixels, not image files", 0.0, 0, 0.0, given)
    if not kept:
        why = "nothing is kept: images are large, and other parts of them are decoded in every epoch"
        return CacheEstimate(why, 0.0, 0, 0.0, given)
    mean = HEADER_BYTES + sum(kept) // len(kept)
    fraction = len(kept) / len(sizes)
    words = {name: _words(mine) for name, mine in plans.items()}
    alike = len({*words.values()}) == 1
    told = _words(plan) if alike else "; ".join(f"of part {name}, {each}" for name, each in words.items())
    return CacheEstimate(told, fraction, mean, mean * plan.items * fraction / 1e9, given)


def _plans_of_parts(plan: StreamPlan) -> Iterator[tuple[str, StreamPlan]]:
    """Yield the name of each part of a mixture with the plan of its transform; without parts, the plan alone."""
    source = plan.settings.source
    if not isinstance(source, MixtureSource):
        yield "", plan
        return
    for name, part in source.parts.items():
        yield name, plan if part.transform is None else plan.with_transform(part.transform)


def _words(plan: StreamPlan) -> str:
    transform = plan.settings.transform
    if transform.resize is not None:
        return f"images resized to {transform.resize.height} × {transform.resize.width} are kept"
    if transform.framed and transform.patch is not None and transform.patch.kind == "center":
        return "the centre of each image is kept" if transform.manipulations is None else "decoded images are kept"
    if not plan.settings.targets and (steps := fixed_steps(transform)):
        names = ", ".join(step.name for step in transform.all_steps[:steps])
        return f"images after {names} are kept"
    return "decoded images are kept"
