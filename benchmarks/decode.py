"""What decoding less than a whole JPEG saves, compared with TensorFlow's crop; and what scaled decoding does to pixels.

    python benchmarks/decode.py [--parts regions,scaling,differences] [--rounds 5] [--data FOLDER] [--out decode.json]

A ratio is of processor time: decoding the whole photo with simplejpeg over decoding what the patches need, both in one
round, one after the other; per photo the median of the rounds, and of those the median, the lowest and the highest are
printed. `--data` is a folder with `cats-dogs/` and `camera/`; default: ../shared/data next to the repository.
"""

import argparse
import json
import os
import platform
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import simplejpeg  # type: ignore[import-untyped]
from rich.console import Console
from rich.table import Table

from penstock.protocol.spec.transform import Resize
from penstock.worker.imaging import partial_jpeg
from penstock.worker.imaging.decode import Decoder, Pixels
from penstock.worker.imaging.partial_jpeg import Box
from penstock.worker.imaging.resize import resize

_ROOT = Path(__file__).resolve().parent.parent
_SIDE = 224
#: A filter of each kind: an average, Pillow's antialiased ones, and one that looks at neighbours only.
_FILTERS = ("area", "bilinear", "bicubic", "lanczos", "linear")


def layouts(height: int, width: int, seed: int) -> dict[str, list[Box]]:
    """Return which patches to decode, by name."""
    rng = random.Random(seed)  # noqa: S311 - nothing secret
    bottom, right = height - _SIDE, width - _SIDE

    def scattered(count: int) -> list[Box]:
        return [Box(rng.randint(0, bottom), rng.randint(0, right), _SIDE, _SIDE) for _ in range(count)]

    return {
        "centre": [Box(bottom // 2, right // 2, _SIDE, _SIDE)],
        "top left": [Box(0, 0, _SIDE, _SIDE)],
        "bottom right": [Box(bottom, right, _SIDE, _SIDE)],
        "1 random": scattered(1),
        "2 random": scattered(2),
        "4 random": scattered(4),
        "10 random": scattered(10),
    }


def ways() -> dict[str, Callable[[bytes, list[Box]], object]]:
    """Return how to decode patches, by name; `whole` first."""
    decoder = Decoder("rgb")
    found: dict[str, Callable[[bytes, list[Box]], object]] = {
        "whole": lambda data, _: decoder.decode(data),
        "penstock without extension": lambda data, boxes: _parts(decoder, data, boxes, extension=None),
    }
    if (extension := partial_jpeg.load_extension()) is not None:
        found["penstock"] = lambda data, boxes: _parts(decoder, data, boxes, extension=extension)
    try:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        import tensorflow as tf  # noqa: PLC0415 - seconds, and not everywhere
    except ImportError:
        return found
    tf.config.threading.set_intra_op_parallelism_threads(1)

    def crop(data: bytes, boxes: list[Box]) -> object:
        file = tf.constant(data)
        return [tf.image.decode_and_crop_jpeg(file, box, 3, dct_method="INTEGER_ACCURATE").numpy() for box in boxes]

    return found | {"TensorFlow, a call a patch": crop}


def _parts(decoder: Decoder, data: bytes, boxes: list[Box], *, extension: object) -> Pixels:
    partial_jpeg._EXTENSION = extension  # noqa: SLF001 - both ways in one run # pyright: ignore[reportPrivateUsage]
    assert decoder.size(data) is not None  # noqa: S101 - all of the photos are baseline JPEGs
    return decoder.decode_parts(data, boxes)


def seconds(call: Callable[[], object]) -> float:
    """Return the processor time of a call."""
    start = time.process_time()
    call()
    return time.process_time() - start


def regions(photos: list[Path], rounds: int) -> dict[str, dict[str, list[float]]]:
    """Return the ratios to the whole decode by layout and way, one a photo."""
    result: dict[str, dict[str, list[float]]] = {}
    all_ways = ways()
    for place, photo in enumerate(photos):
        data = photo.read_bytes()
        height, width, _, _ = simplejpeg.decode_jpeg_header(data)
        for layout, boxes in layouts(int(height), int(width), place).items():
            times = [{name: seconds(lambda: way(data, boxes)) for name, way in all_ways.items()} for _ in range(rounds)]  # noqa: B023 - called at once
            for name in list(all_ways)[1:]:
                ratio = statistics.median(each["whole"] / each[name] for each in times)
                result.setdefault(layout, {}).setdefault(name, []).append(ratio)
    return result


def scaling(files: list[Path], rounds: int, side: int) -> list[float]:
    """Return the ratios of decoding and resizing: from the whole image over from a scaled decode, one a round."""
    decoder, out, target = Decoder("rgb"), np.empty((side, side, 3), np.uint8), Resize(height=side, width=side)
    contents = [file.read_bytes() for file in files]

    def run(least: tuple[int, int] | None) -> None:
        for data in contents:
            resize(decoder.decode(data, least), target.model_copy(update={"filter": "area"}), out)

    return [seconds(lambda: run(None)) / seconds(lambda: run((side, side))) for _ in range(rounds)]


def differences(files: list[Path], side: int) -> Iterator[dict[str, Any]]:
    """Yield, for each filter, how far samples from scaled decodes are from those of whole ones, in levels."""
    decoder, contents = Decoder("rgb"), [file.read_bytes() for file in files]
    for name in _FILTERS:
        target = Resize(height=side, width=side, filter=name)
        errors, largest, noise = [], [], []
        for data in contents:
            samples = []
            for least in (None, (side, side)):
                out = np.empty((side, side, 3), np.uint8)
                resize(decoder.decode(data, least), target, out)
                samples.append(out)
            difference = np.abs(samples[0].astype(np.int16) - samples[1])
            errors.append(float(difference.mean()))
            largest.append(int(difference.max()))
            noise.append(cv2.PSNR(samples[0], samples[1]))
        yield {
            "filter": name,
            "mean difference": statistics.mean(errors),
            "largest, median image": statistics.median(largest),
            "largest": max(largest),
            "PSNR in dB, median image": statistics.median(noise),
            "PSNR in dB, lowest": min(noise),
        }


def show(console: Console, title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print a table."""
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for column in rows[0]:
        table.add_column(column)
    for row in rows:
        table.add_row(*(f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in row.values()))
    console.print(table)
    console.print()


def main() -> None:
    """Measure, print, and write JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default="regions,scaling,differences")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--data", type=Path, default=_ROOT.parent / "shared" / "data")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    console = Console(width=160)
    cv2.setNumThreads(0)
    photos = sorted((arguments.data / "camera").glob("*.jpg"))
    small = sorted((arguments.data / "cats-dogs").rglob("*.jpg"))[::4]
    wanted = arguments.parts.split(",")
    found: dict[str, Any] = {"machine": platform.processor(), "parts": partial_jpeg.describe()}
    console.print(f"parts of JPEGs: {partial_jpeg.describe()}\n")
    if "regions" in wanted:
        found["regions"] = regions(photos, arguments.rounds)
        rows = [
            {"patches": layout}
            | {
                name: f"{statistics.median(each):.2f}  ({min(each):.2f} to {max(each):.2f})"
                for name, each in found_ways.items()
            }
            for layout, found_ways in found["regions"].items()
        ]
        show(console, f"{_SIDE}×{_SIDE} patches of {len(photos)} photos, times faster than decoding all of it", rows)
    sets = (("cats-dogs", small, 150), ("camera", photos, 224), ("camera", photos, 1000))
    if "scaling" in wanted:
        found["scaling"] = [
            {"files": name, "side": side, "times faster": statistics.median(scaling(files, arguments.rounds, side))}
            for name, files, side in sets
        ]
        show(console, "decode and resize (area) with DCT scaling, over without", found["scaling"])
    if "differences" in wanted:
        for name, files, side in sets:
            found.setdefault("differences", {})[f"{name} {side}"] = rows = list(differences(files, side))
            show(console, f"what DCT scaling changes: {len(files)} of {name}, to {side}×{side}, in levels of 255", rows)
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
