"""How a stream is written to HDF5: options that `penstock sink` and `penstock write` share, declared once."""

from pydantic import Field

from penstock.protocol.runtime.settings import Settings
from penstock.sink.output.layout import COMPRESSION, OutputConfig


class WriterOptions(Settings):
    """What is written, and how."""

    output: str = ""
    """HDF5 file to write. Begun before by the same command, it is continued."""
    stream: str = "train"
    """Stream to write."""
    epochs: int = Field(default=1, ge=1, le=1_000_000)
    """Epochs to write, one after the other."""
    compression: str = Field(default="none", pattern=COMPRESSION)
    """Of images and other large fields: none, lzf, gzip, zstd or blosc2; the latter three with a level, as in gzip:6.
    Reading zstd and blosc2 needs hdf5plugin."""
    shard_size: int | None = Field(default=None, ge=1)
    """Samples of a file, rounded up to whole chunks: the output is then a view over the shards beside it, and no
    second copy is made in the end. Default: all in one file."""
    piece_mb: float = Field(default=64.0, gt=0)
    """MB (10^6 bytes) of samples between two commits: what a kill costs at most. Doubled after every 64 commits."""
    piece_s: float = Field(default=10.0, gt=0)
    """Seconds between two commits at most; doubled likewise."""

    def output_config(self) -> OutputConfig:
        """Return what the writer is asked for."""
        return OutputConfig(self.output, self.stream, self.epochs, self.compression, self.shard_size)
