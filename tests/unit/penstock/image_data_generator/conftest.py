"""Pictures and a DataFrame that names them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.images import write_images


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Return a folder with 4 pictures of each of 2 classes."""
    write_images(tmp_path / "photos", ("cat", "dog"), 4)
    return tmp_path / "photos"


@pytest.fixture
def frame(photos: Path) -> pd.DataFrame:
    """Return a DataFrame that names those pictures."""
    names = sorted(str(path.relative_to(photos)) for path in photos.rglob("*.jpg"))
    return pd.DataFrame({"filename": names, "class": [name[:3] for name in names], "weight": np.arange(8) / 8})
