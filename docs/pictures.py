"""Draws the contact sheets of docs/images with `penstock preview`, on made images: `python docs/pictures.py`."""

import json
import tempfile
from pathlib import Path
from typing import Any

from penstock.commands.preview import main as preview
from penstock.demo.images import make_samples

_HERE = Path(__file__).parent
_SHEETS: dict[str, dict[str, Any]] = {
    "augmentation": {
        "transform": {
            "resize": {"height": 112, "width": 112, "fit": "cover"},
            "augment": {
                "rotation_range": 30.0,
                "zoom_range": 0.3,
                "shear_range": 10.0,
                "channel_shift_range": 40.0,
                "horizontal_flip": True,
                "fill_mode": "reflect",
            },
        },
    },
    "manipulations": {
        "transform": {
            "patch": {"kind": "random", "height": 40, "width": 40},
            "manipulations": {"preset": "ieee-sp-cup-2018"},
        },
        "patches": 3,
        "mix": 6,
    },
}


def main() -> None:
    """Make the images, one of which is no image, and draw each sheet."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for _ in make_samples(root, train=12, held_out=0, seed=3):
            pass
        (root / "train" / "dots" / "damaged.jpg").write_bytes((root / "train/dots/0003.jpg").read_bytes()[:900])
        source = {"kind": "directory", "root": "images", "path": "train"}
        streams = {name: {"source": source, **stream} for name, stream in _SHEETS.items()}
        spec = {"seed": 2, "roots": {"images": str(root)}, "streams": streams}
        (root / "spec.json").write_text(json.dumps(spec), encoding="utf-8")
        for name in _SHEETS:
            sheet = _HERE / "images" / f"{name}.jpg"
            preview([str(root / "spec.json"), "--stream", name, "--count", "24", "-o", str(sheet)])


if __name__ == "__main__":
    main()
