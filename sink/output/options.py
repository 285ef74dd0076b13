"""Options for writing a stream to HDF5, shared by `penstock sink` and `penstock write`."""

from pydantic import Field

from penstock.protocol.runtime.settings import Settings
from penstock.sink.output.layout import COMPRESSION, OutputConfig


class WriterOptions(Settings):
    """Options of the HDF5 writer."""

    output: str = ""
    """HDF5 file to write. An unfinished file of the same command is continued."""
    stream: str = "train"
    """Stream to write."""
    epochs: int = Field(default=1, ge=1, le=1_000_000)
    """Epochs to write, one after the other."""
    compression: str = Field(default="none", pattern=COMPRESSION)
    """Compression of images and other large fields: none, lzf, gzip, zstd or blosc2; the last three accept a level,
    as in gzip:6. Reading zstd and blosc2 needs hdf5plugin."""
    shard_size: int | None = Field(default=None, ge=1)
    """Samples per shard, rounded up to whole chunks. The output is then a view over shard files in the same folder, and
    samples are not copied again at the end. Default: all samples in one file."""
    piece_mb: float = Field(default=64.0, gt=0)
    """MB (10^6 bytes) of samples between two commits, the most that a crash loses. Doubled after every 64 commits."""
    piece_s: float = Field(default=10.0, gt=0)
    """Maximum seconds between two commits. Doubled after every 64 commits."""

    def output_config(self) -> OutputConfig:
        """Return the writer's configuration."""
        return OutputConfig(self.output, self.stream, self.epochs, self.compression, self.shard_size)
