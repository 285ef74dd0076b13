"""The spec's normalisation: from levels to the numbers a model trains on. Owns its fields.

Names and meanings are those of Keras's retired `ImageDataGenerator`. What Keras warns about and ignores (statistics
that are asked for and missing) is refused here.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from penstock.protocol.spec.augment import Finite
from penstock.protocol.spec.model import Model, RootName
from penstock.protocol.spec.source import confined

_Numbers = Annotated[tuple[Finite, ...], Field(min_length=1)]


class Normalize(Model):
    """Turn uint8 levels into floats: rescale, centre and scale by the sample, then by the data set, then whiten."""

    rescale: Finite | None = None
    """Factor that levels are multiplied by first, such as 0.00392156862745098 (1/255); without it, or 0: none."""
    samplewise_center: bool = False
    """Subtract each sample's own mean, over all its values."""
    samplewise_std_normalization: bool = False
    """Divide each sample by its own standard deviation (plus 10^-6); includes `samplewise_center`."""
    featurewise_center: bool = False
    """Subtract `mean`."""
    featurewise_std_normalization: bool = False
    """Divide by `std` (plus 10^-6); includes `featurewise_center`."""
    zca_whitening: bool = False
    """Multiply the flattened sample by the ZCA matrix of `statistics`; includes `featurewise_center`, and leaves
    `featurewise_std_normalization` out. Sums run in an order that differs between CPUs, so last bits may too."""
    mean: _Numbers | None = None
    """Mean of the rescaled data set: one number a channel, or one for all."""
    std: _Numbers | None = None
    """Standard deviation of the rescaled, centred data set: one number a channel, or one for all."""
    statistics: Annotated[str, Field(min_length=1), AfterValidator(confined)] | None = None
    """A .npz or .json file that `penstock.protocol.spec.statistics.Statistics.save` wrote, below `statistics_root`;
    it gives `mean` and `std` where they are not given here, and the ZCA matrix. What it holds enters the
    fingerprint."""
    statistics_root: RootName | None = None
    """Named root of `statistics`; default: that of the stream's source. A worker that whitens needs the file, too."""
    statistics_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """Digest of `statistics`, filled in when the spec is read; if given, a file with another one is refused."""
    dtype: Literal["float32", "float16"] = "float32"
    """Element type of the result."""
    data_format: Literal["channels_last", "channels_first"] = "channels_last"
    """Axes of the result: (height, width, channels) or (channels, height, width)."""
    where: Literal["worker", "trainer"] = "worker"
    """`worker`: floats travel. `trainer`: uint8 travels, a quarter of the bytes, and the trainer normalises whole
    batches with `feed.normalizer()`, on its device."""

    @model_validator(mode="after")
    def _statistics_are_there(self) -> "Normalize":
        if self.statistics is not None:
            if not self.statistics.endswith((".npz", ".json")):
                raise ValueError(f"statistics = {self.statistics!r}: give a .npz or .json file")
            return self
        for wanted, name in ((self.centers_features, "mean"), (self.scales_features, "std")):
            if wanted and getattr(self, name) is None:
                raise ValueError(f"featurewise normalisation needs {name} = [...], or statistics = a file with it")
        if self.zca_whitening:
            raise ValueError("zca_whitening needs statistics = a file with the ZCA matrix")
        return self

    @property
    def centers_features(self) -> bool:
        """Whether the data set's mean is subtracted."""
        return self.featurewise_center or self.featurewise_std_normalization or self.zca_whitening

    @property
    def scales_features(self) -> bool:
        """Whether values are divided by the data set's standard deviation."""
        return self.featurewise_std_normalization and not self.zca_whitening

    @property
    def centers_samples(self) -> bool:
        """Whether a sample's own mean is subtracted."""
        return self.samplewise_center or self.samplewise_std_normalization

    def check(self, channels: int) -> None:
        """Raise ValueError if the statistics are not those of samples with so many channels."""
        for name in ("mean", "std"):
            numbers = getattr(self, name)
            if numbers is not None and len(numbers) not in (1, channels):
                raise ValueError(
                    f"normalize.{name} has {len(numbers)} numbers, but samples have {channels} channel(s): give one "
                    "for each, or one for all"
                )
            if name == "std" and numbers is not None and min(numbers) < 0:
                raise ValueError(f"normalize.std = {numbers!r} holds a negative number")

    def shape(self, height: int, width: int, channels: int) -> tuple[int, int, int]:
        """Return the shape of a normalised sample."""
        return (channels, height, width) if self.data_format == "channels_first" else (height, width, channels)
