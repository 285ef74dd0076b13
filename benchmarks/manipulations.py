"""Patches of manipulated camera photos on one core: ten from one decode, or one a decode with whole-image Pillow.

Both sides cut 224×224 at random places under the nine cases of the IEEE SP Cup 2018 (unchanged and eight manipulations,
evenly). The other side does what a patch generator usually does: for each patch it decodes the photo, manipulates all
of it, and cuts. Its decoder is ours (simplejpeg), so only the manipulation is Pillow's: decoding by Pillow too would
cost it more. Ours decodes what the patches need, as a worker does. Both must make the same pixels. Rounds alternate,
and their medians are compared.

Usage: python benchmarks/manipulations.py FOLDER [--rounds 3] [--photos 4]
"""

import argparse
import io
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from penstock.protocol.spec.operation import Manipulation
from penstock.protocol.spec.spec import Stream
from penstock.worker.imaging.decode import Decoder, Pixels
from penstock.worker.imaging.operations.gamma import Gamma
from penstock.worker.imaging.operations.jpeg import Jpeg
from penstock.worker.imaging.operations.rescale import Rescale
from penstock.worker.imaging.partial_jpeg import Box, describe
from penstock.worker.imaging.patches import Cutter

SIDE, PATCHES = 224, 10
_TRANSFORM: dict[str, Any] = {
    "patch": {"kind": "random", "height": SIDE, "width": SIDE},
    "manipulations": {"preset": "ieee-sp-cup-2018"},
}
_STREAM = Stream.model_validate(
    {"source": {"kind": "directory", "root": "photos"}, "transform": _TRANSFORM, "patches": PATCHES}
)


def ours(data: bytes, decoder: Decoder, cutter: Cutter, draws: Any) -> list[Pixels]:  # noqa: ANN401 - an array
    """Decode once what ten patches need, and cut them, as a worker does."""
    out = np.empty((PATCHES, SIDE, SIDE, 3), np.uint8)
    size = decoder.size(data)
    sources = cutter.sources(size, 0, 0, draws) if size else None
    boxes = [Box(source.y, source.x, source.height, source.width) for source in sources or ()]
    pixels = decoder.decode_parts(data, boxes) if boxes else decoder.decode(data)
    for row, (cut, _) in zip(out, cutter.cuts(pixels, 0, 0, draws), strict=True):
        row[...] = cut
    return list(out)


def theirs(data: bytes, decoder: Decoder, draws: Any) -> list[Pixels]:  # noqa: ANN401 - an array
    """For each patch: decode, manipulate all of it with Pillow, cut."""
    manipulations = _STREAM.transform.manipulations
    assert manipulations is not None  # noqa: S101 - see above
    cases: list[Manipulation | None] = [None, *manipulations.all]
    found = []
    for y, x, choice in draws.tolist():
        pixels = manipulated(Image.fromarray(decoder.decode(data)), cases[manipulations.choose(choice)])
        top, left = int(y * (pixels.height - SIDE + 1)), int(x * (pixels.width - SIDE + 1))
        found.append(np.asarray(pixels.crop((left, top, left + SIDE, top + SIDE))))
    return found


def manipulated(image: Image.Image, manipulation: Manipulation | None) -> Image.Image:
    """Manipulate a whole image with Pillow."""
    match manipulation:
        case Gamma(value=value):
            return image.point([int(255.0 * (level / 255.0) ** value + 0.5) for level in range(256)] * 3)
        case Jpeg(value=value):
            file = io.BytesIO()
            image.save(file, "JPEG", quality=value, subsampling="4:2:0")
            return Image.open(file)
        case Rescale():
            height, width = manipulation.size((image.height, image.width))
            return image.resize((width, height), Image.Resampling.BICUBIC)
        case _:
            return image


def seconds(work: Callable[[], object]) -> float:
    """Return how long a call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Print patches per second of both sides, their ratio, and what each case costs ours."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="a folder with camera photos (*.jpg)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--photos", type=int, default=4)
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    photos = [path.read_bytes() for path in sorted(options.folder.glob("*.jpg"))[: options.photos]]
    if not photos:
        raise SystemExit(f"no *.jpg in {options.folder}: give a folder with camera photos")
    decoder, cutter, rng = Decoder("rgb"), Cutter(_STREAM, 0), np.random.default_rng(0)
    ratios, rates = [], []
    for _ in range(options.rounds):
        mine = other = 0.0
        for data in photos:
            # Every case comes up equally often on both sides: the choice is stratified, the place is not.
            draws = rng.random((PATCHES, 3))
            draws[:, 2] = (rng.permutation(9)[np.arange(PATCHES) % 9] + 0.5) / 9
            mine += seconds(lambda: ours(data, decoder, cutter, draws))  # noqa: B023 - called at once
            other += seconds(lambda: theirs(data, decoder, draws))  # noqa: B023 - called at once
            if not np.array_equal(ours(data, decoder, cutter, draws), theirs(data, decoder, draws)):
                raise SystemExit("the two sides made different patches: this is a bug")
        count = len(photos) * PATCHES
        ratios.append(other / mine)
        rates.append((count / mine, count / other))
    mine, other = (statistics.median(rate[side] for rate in rates) for side in (0, 1))
    print(f"{len(photos)} photos, one core: {mine:.1f} patches/s, one a decode {other:.1f}; ", end="")
    print(f"ratio {statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})")
    print(f"JPEGs are decoded {describe()}")
    print_cases(photos[0], decoder, cutter, rng)


def print_cases(data: bytes, decoder: Decoder, cutter: Cutter, rng: np.random.Generator) -> None:
    """Print the time of a decode and of a patch under each manipulation."""
    print(f"decode all: {1e3 * statistics.median(seconds(lambda: decoder.decode(data)) for _ in range(5)):8.2f} ms")
    pixels, draws = decoder.decode(data), rng.random((PATCHES, 3))
    manipulations = _STREAM.transform.manipulations
    assert manipulations is not None  # noqa: S101 - see above
    for index, name in enumerate(manipulations.names):
        times = [seconds(lambda: [cut.copy() for cut, _ in cutter.cuts(pixels, 0, 0, draws, index)]) for _ in range(9)]  # noqa: B023
        print(f"{name:>10}: {1e3 * statistics.median(times) / PATCHES:8.3f} ms a patch")


if __name__ == "__main__":
    main()
