"""`flow(save_to_dir=…)`: pictures are saved as they are yielded."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.keras.flows import flow

from penstock.protocol.errors import ArgumentError


def test_pictures_are_saved_as_they_are_yielded(tmp_path: Path) -> None:
    """`{prefix}_{sample}_{number}.{format}`; levels from black to white; a repeated run writes the same."""
    iterator = flow(save_to_dir=tmp_path, save_prefix="try", save_format="png", arguments={"rescale": 1 / 255})
    images, labels = next(iterator)
    files = sorted(tmp_path.iterdir())
    assert sorted(f"try_{label}" for label in labels) == sorted(file.name.rpartition("_")[0] for file in files)
    saved = {int(file.name.split("_")[1]): np.asarray(Image.open(file), np.float64) for file in files}
    for image, label in zip(images, labels, strict=True):
        levels = (image - image.min()) / (image.max() - image.min()) * 255.0
        assert np.abs(levels - saved[label]).max() < 1.001
    next(flow(save_to_dir=tmp_path, save_prefix="try"))
    assert files == sorted(tmp_path.iterdir())


def test_a_folder_for_pictures_must_be_there(tmp_path: Path) -> None:
    """A mistake in the name, or a format that cannot be written, is found before hours of training."""
    with pytest.raises(FileNotFoundError, match=r"save_to_dir = .*nowhere"):
        flow(save_to_dir=tmp_path / "nowhere")
    with pytest.raises(TypeError, match="save_to_dir = 5: give the path of a folder"):
        flow(save_to_dir=5)
    for unknown in ("wmv", "", 5, "psd"):
        with pytest.raises(ArgumentError, match=f"save_format = {unknown!r}"):
            flow(save_to_dir=tmp_path, save_format=unknown)
