"""Say which photos there are and which camera model took each; or make some, to try the example without any.

    python examples/camera_model/photos.py list /your/photos -o lists
    python examples/camera_model/photos.py make made -o lists

Both write `train.csv` and `validation.csv`, with the columns `path` (below the folder of photos) and `model`: the name
of the folder that a photo lies in, or of the photo itself if it lies in none. A part of each model's photos is held out
for validation. If a model has a single photo, both lists hold it: what is learnt then is the photo, not the camera.
"""

import argparse
import csv
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from penstock.demo.images import PATTERNS, make_picture

Photos = dict[str, list[str]]

#: Endings of files that are taken for photos.
ENDINGS = {".jpg", ".jpeg", ".png", ".tif", ".tiff"}
#: What tells the made cameras apart: deviation of the pattern that the sensor multiplies each photo by, blur of
#: red and blue (pixels, as by demosaicing), sharpening (percent), JPEG quality.
CAMERAS = {
    "Alder A1": (0.02, 0.0, 0, 96),
    "Birch B2": (0.08, 0.8, 0, 80),
    "Cedar C3": (0.04, 1.6, 200, 92),
    "Elm E5": (0.16, 0.3, 80, 85),
}
#: Shortest and longest side of a made photo (pixels): half of the shortest one holds a patch of 256.
SIDES = (520, 640)


def find(folder: Path) -> Photos:
    """Return the photos below a folder by model, as paths relative to it. Exits in words if there are none."""
    if not folder.is_dir():
        sys.exit(f"{str(folder)!r}: no such folder; give one with photos, in a folder for each camera model")
    photos: Photos = defaultdict(list)
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in ENDINGS and path.is_file():
            model = path.parent.name if path.parent != folder else path.stem
            photos[model].append(path.relative_to(folder).as_posix())
    if len(photos) < 2:  # noqa: PLR2004 - nothing to tell apart
        sys.exit(f"{str(folder)!r}: photos of {len(photos)} camera model(s); at least two are needed")
    return photos


def split(photos: Photos, held_out: float) -> tuple[Photos, Photos]:
    """Return the photos to train on and those to validate on: every so many of each model's."""
    train: Photos = {}
    validation: Photos = {}
    for model, paths in photos.items():
        count = min(len(paths) - 1, max(1, round(held_out * len(paths))))
        held = {paths[place * len(paths) // count] for place in range(count)}
        train[model] = [path for path in paths if path not in held]
        validation[model] = sorted(held) or paths
    return train, validation


def write(file: Path, photos: Photos) -> None:
    """Write a list."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "model"])
        writer.writerows((path, model) for model, paths in sorted(photos.items()) for path in paths)


def make(folder: Path, each: int, seed: int) -> None:
    """Make `each` photos by every camera: the scenes are of the same kinds for all, only the traces differ."""
    for number, (model, (pattern, blur, sharpening, quality)) in enumerate(CAMERAS.items()):
        (folder / model).mkdir(parents=True, exist_ok=True)
        sensor = 1.0 + pattern * np.random.default_rng([seed, number]).standard_normal((SIDES[1], SIDES[1], 3))
        for index in range(each):
            rng = np.random.default_rng([seed, number, index])
            scene = make_picture(rng, sorted(PATTERNS)[rng.integers(len(PATTERNS))], SIDES)
            photo = take(scene, sensor, blur, sharpening)
            photo.save(folder / model / f"{index:04}.jpg", quality=quality)


def take(scene: npt.NDArray[np.uint8], sensor: npt.NDArray[np.float64], blur: float, sharpening: int) -> Image.Image:
    """Return a scene as one camera shows it."""
    seen = np.clip(scene * sensor[: scene.shape[0], : scene.shape[1]], 0.0, 255.0).astype(np.uint8)
    red, green, blue = Image.fromarray(seen).split()
    soft = ImageFilter.GaussianBlur(blur)
    photo = Image.merge("RGB", (red.filter(soft), green, blue.filter(soft)))
    return photo.filter(ImageFilter.UnsharpMask(1.0, sharpening, 0))


def main(arguments: Sequence[str] | None = None) -> None:
    """Make photos if asked to; write the lists, and say what they hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["list", "make"])
    parser.add_argument("folder", type=Path, help="where the photos are, or are to be made")
    parser.add_argument("-o", "--output", type=Path, default=Path("lists"), help="folder of the lists")
    parser.add_argument("--held-out", type=float, default=0.2, help="part of each model's photos to validate on")
    parser.add_argument("--each", type=int, default=12, help="photos to make of each model")
    parser.add_argument("--seed", type=int, default=0, help="of the photos that are made")
    options = parser.parse_args(arguments)
    if not 0.0 < options.held_out < 1.0:
        parser.error(f"--held-out {options.held_out}: give a number between 0 and 1")
    if options.each < 1:
        parser.error(f"--each {options.each}: give 1 or more")
    if options.what == "make":
        make(options.folder, options.each, options.seed)
    photos = find(options.folder)
    for name, part in zip(("train", "validation"), split(photos, options.held_out), strict=True):
        write(options.output / f"{name}.csv", part)
        print(f"{options.output / name}.csv: {sum(map(len, part.values()))} photos of {len(part)} camera models")
    if single := sum(len(paths) == 1 for paths in photos.values()):
        print(f"{single} of these models have a single photo: both lists hold it")


if __name__ == "__main__":
    main()
