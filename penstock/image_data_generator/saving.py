"""Writes an image iterator's images as picture files (`save_to_dir`); checks the folder before the first is made."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from penstock.image_data_generator.checks import check_folder
from penstock.protocol.errors import ArgumentError, MissingFolderError
from penstock.protocol.order import Int64s

Images = npt.NDArray[Any]
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
#: Formats without an alpha channel.
_OPAQUE = ("jpg", "jpeg", "bmp", "ppm")


@dataclass(frozen=True, slots=True)
class Saver:
    """Folder, names and format of pictures: `{folder}/{prefix}_{item}_{number}.{suffix}`."""

    #: None or empty: no pictures are written.
    folder: str | Path | None
    prefix: str
    suffix: str

    def __post_init__(self) -> None:
        """Check the folder and the format. Raises MissingFolderError, ArgumentTypeError and ArgumentError."""
        if not self.folder:
            return
        folder = check_folder("save_to_dir", self.folder)
        if not Path(folder).is_dir():
            raise MissingFolderError(f"save_to_dir = {folder!r} is not a folder: make it first")
        if Image.registered_extensions().get(f".{self.suffix}".lower()) not in Image.SAVE:
            raise ArgumentError(f"save_format = {self.suffix!r}: give a format that Pillow writes, such as 'png'")

    def save(self, images: Images, items: Int64s, *turn: int) -> None:
        """Write images (samples, height, width, channels) of any levels: lowest black, highest white.

        The number in a name follows from `turn` and the item, so a seeded run writes the same names again. Raises
        ArgumentError if that cannot be done.
        """
        if not self.folder:
            return
        for image, item in zip(images, items.tolist(), strict=True):
            digest = hashlib.blake2b(repr((turn, item)).encode(), digest_size=4).digest()
            name = f"{self.prefix}_{item}_{int.from_bytes(digest, 'big') % 10_000_000}.{self.suffix}"
            try:
                picture(image, opaque=self.suffix.lower() in _OPAQUE).save(Path(self.folder) / name)
            except (OSError, ValueError, KeyError) as error:
                raise ArgumentError(
                    f"save_to_dir = {str(self.folder)!r}, save_format = {self.suffix!r}: cannot write {name!r}: {error}"
                ) from error


def picture(image: Images, *, opaque: bool = False) -> Image.Image:
    """Return an image (height, width, channels) as a picture, its levels stretched to 0 to 255.

    Raises ArgumentError unless it has 1, 3 or 4 channels.
    """
    channels = image.shape[2]
    if channels not in _MODES:
        raise ArgumentError(f"an image of {channels} channels cannot be saved as a picture: 1, 3 or 4 can")
    values = image.astype(np.float64)
    values -= values.min()
    if values.max() > 0:
        values *= 255.0 / values.max()
    whole = values.astype(np.uint8)
    shown = Image.fromarray(whole[..., 0] if channels == 1 else whole)
    return shown.convert("RGB") if opaque and channels == 4 else shown  # noqa: PLR2004 - RGBA
