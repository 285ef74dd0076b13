"""The cases of `engine.py`: a stream, and the bare loop that it is compared with.

`kernel` is the stream's own kernel in a loop, so its ratio is what handing samples over costs; `by_hand` is what a
careful author of a loop would write with simplejpeg and OpenCV; `tf_data` is tf.data with as many threads.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg  # type: ignore[import-untyped]

from penstock.protocol.messages import TaskKey
from penstock.protocol.spec.spec import parse_spec
from penstock.ventilator.sources.catalog import Catalog
from penstock.worker.imaging.pipeline import Pipeline

#: Images of the cases in memory, and their side; side of patches and of resized files.
_ARRAYS, _SMALL = 50_000, 32
_PATCH, _SIDE = 224, 150
#: What is done to images in memory, in the words of Keras's ImageDataGenerator.
_CHANGES = {
    "rotation_range": 20.0,
    "width_shift_range": 0.1,
    "height_shift_range": 0.1,
    "zoom_range": 0.2,
    "channel_shift_range": 20.0,
    "horizontal_flip": True,
}
#: What both the loop that is written by hand and its stream do to files.
_BY_HAND = _CHANGES | {"rotation_range": 45.0, "zoom_range": [0.8, 1.0]}

Spec = dict[str, Any]
Room = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Case:
    """A stream, and what it is compared with."""

    title: str
    spec: Spec
    #: A loop, for `measuring.looped`, and what it gets.
    loop: Callable[..., Callable[[], int]]
    given: tuple[Any, ...]
    #: The least ratio that is aimed at, if any.
    aim: float | None = None
    #: Whether the feed copies.
    copy: bool = True
    #: Whether the loop has threads of its own: then it is one process.
    threads: bool = False

    @property
    def normalizes(self) -> bool:
        """Whether the trainer normalises."""
        return self.spec != in_workers(self.spec)


def cases(data: Path, made: Path) -> dict[str, Case]:
    """Return what to measure, by name; what must be made for it is written below `made`."""
    resized = {"height": _SIDE, "width": _SIDE, "filter": "area"}
    linear = {"height": _SIDE, "width": _SIDE, "filter": "linear"}
    files = {"source": {"kind": "directory", "path": "cats-dogs"}, "batch_size": 64}
    photos = {"source": {"kind": "directory", "classes": ["camera"]}}
    cats_dogs = _spec(data, **files, transform={"resize": resized})
    camera = _spec(
        data,
        **photos,
        transform={"patch": {"kind": "random", "height": _PATCH, "width": _PATCH}},
        patches=10,
        batch_size=40,
    )
    changed = _spec(data, **files, transform={"resize": linear, "augment": _BY_HAND})
    scaled = _spec(data, **files, transform={"resize": linear | {"dct_scaling": True}, "augment": _BY_HAND})
    centre = _spec(
        data, **photos, transform={"patch": {"kind": "center", "height": _PATCH, "width": _PATCH}}, batch_size=8
    )
    whose = str(data / "cats-dogs")
    return {
        "cats-dogs": _kernel(f"cats-dogs, {_SIDE}×{_SIDE}", cats_dogs, 0.97),
        "camera": _kernel(f"camera photos, 10 patches of {_PATCH}×{_PATCH}", camera, 0.98),
        **_in_memory(made),
        "by-hand": Case("cats-dogs changed, over a loop by hand", changed, by_hand, (whose,), 0.97),
        "by-hand-dct": Case("the same with DCT scaling", scaled, by_hand, (whose,), 1.2),
        "centre": Case(
            f"camera photos, centre {_PATCH}×{_PATCH}, over tf.data",
            centre,
            tf_data,
            (str(data / "camera"),),
            1.1,
            threads=True,
        ),
    }


def _in_memory(made: Path) -> dict[str, Case]:
    """Return the cases of arrays in memory."""
    path = made / "arrays.npy"
    if not path.exists():
        np.save(path, np.random.default_rng(1).integers(0, 256, (_ARRAYS, _SMALL, _SMALL, 3), np.uint8))

    def small(**normalize: Any) -> Spec:  # noqa: ANN401 - fields of `normalize`
        transform: Spec = {"resize": {"height": _SMALL, "width": _SMALL}, "augment": _CHANGES}
        if normalize:
            transform["normalize"] = {"rescale": 1 / 255, **normalize}
        return _spec(made, source={"kind": "arrays", "images": path.name}, transform=transform, batch_size=32)

    floats = small(where="worker")
    what = f"{_SMALL}×{_SMALL} arrays"
    return {
        "arrays-trainer": _kernel(f"{what}, float32 by the trainer", small(where="trainer"), 0.8),
        "arrays-workers": _kernel(f"{what}, float32 by workers", floats, 0.7),
        "arrays-lent": _kernel(f"{what}, float32 by workers, copy=False", floats, 0.7, copy=False),
        "arrays-half": _kernel(f"{what}, float16 by workers", small(where="worker", dtype="float16")),
        "arrays-uint8": _kernel(f"{what}, uint8", small()),
    }


def _kernel(title: str, spec: Spec, aim: float | None = None, *, copy: bool = True) -> Case:
    return Case(title, spec, kernel, (in_workers(spec),), aim, copy)


def _spec(root: Path, **stream: Any) -> Spec:  # noqa: ANN401 - a stream's fields
    stream["source"] = {"root": "data", **stream["source"]}
    return {"seed": 1, "roots": {"data": str(root)}, "streams": {"train": stream}}


def in_workers(spec: Spec) -> Spec:
    """Return the spec with nothing left to the trainer: what the kernel must do for the same batches."""
    stream = spec["streams"]["train"]
    transform = stream["transform"]
    if "normalize" not in transform:
        return spec
    transform = transform | {"normalize": transform["normalize"] | {"where": "worker"}}
    return spec | {"streams": {"train": stream | {"transform": transform}}}


def kernel(number: int, spec: Mapping[str, Any]) -> Callable[[], int]:
    """Make a task's samples in memory that is used again and again, one epoch a process apart."""
    [plan] = Catalog.open(parsed := parse_spec(spec), parsed.roots).plans
    room = np.empty(Pipeline(plan, parsed.roots).room_bytes(plan.geometry.task_items), np.uint8)
    make = into(number, spec)
    return lambda: make(room)


def into(number: int, spec: Mapping[str, Any]) -> Callable[[Room], int]:
    """Return a function that makes the next task's samples in the memory that it gets, and says how many."""
    parsed = parse_spec(spec)
    book = Catalog.open(parsed, parsed.roots)
    [plan] = book.plans
    pipeline = Pipeline(plan, parsed.roots)
    ordinal = number * plan.geometry.tasks_per_epoch

    def step(room: Room) -> int:
        nonlocal ordinal
        task = book.task(TaskKey(stream="train", ordinal=ordinal), 0)
        ordinal += 1
        return len(pipeline.make(task, pipeline.read(task), room).arrays[0])

    return step


def by_hand(number: int, folder: str) -> Callable[[], int]:
    """Make a batch with simplejpeg and OpenCV: decode, resize, turn, shift, zoom and flip as one warp, shift levels."""
    cv2.setNumThreads(1)
    files = sorted(Path(folder).rglob("*.jpg"))
    rng, place = np.random.default_rng(number), 0
    files = [files[index] for index in rng.permutation(len(files))]
    batch = np.empty((64, _SIDE, _SIDE, 3), np.uint8)

    def step() -> int:
        nonlocal place
        for row in batch:
            whole: Any = simplejpeg.decode_jpeg(files[place].read_bytes())
            place = (place + 1) % len(files)
            small = cv2.resize(whole, (_SIDE, _SIDE), interpolation=cv2.INTER_LINEAR)
            theta, flip = np.deg2rad(rng.uniform(-45, 45)), rng.choice((-1.0, 1.0))
            shift, zoom = rng.uniform(-0.1, 0.1, 2) * _SIDE, rng.uniform(0.8, 1.0, 2)
            turn = np.array([[np.cos(theta), -np.sin(theta)], [np.sin(theta), np.cos(theta)]])
            turn *= (zoom[0] * flip, zoom[1])
            centre = np.full(2, _SIDE / 2 - 0.5)
            matrix = np.column_stack((turn, centre + shift - turn @ centre))
            how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            moved = cv2.warpAffine(small, matrix, (_SIDE, _SIDE), flags=how, borderMode=cv2.BORDER_REPLICATE)
            levels: Any = (rng.uniform(-20, 20),) * 4
            cv2.add(moved, levels, dst=row)
        return len(batch)

    return step


def tf_data(number: int, folder: str, threads: int) -> Callable[[], int]:
    """Take batches of one centred patch of each photo from tf.data: of a photo, only that part is decoded."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf  # noqa: PLC0415 - takes seconds, and only this case needs it

    def patch(path: Any) -> Any:  # noqa: ANN401 - a tensor
        content = tf.io.read_file(path)
        shape = tf.image.extract_jpeg_shape(content)
        window = tf.stack([(shape[0] - _PATCH) // 2, (shape[1] - _PATCH) // 2, _PATCH, _PATCH])
        return tf.image.decode_and_crop_jpeg(content, window, channels=3)

    files = [str(file) for file in sorted(Path(folder).glob("*.jpg"))]
    data = tf.data.Dataset.from_tensor_slices(files).shuffle(len(files), seed=number).repeat()
    data = data.map(patch, num_parallel_calls=threads).batch(8).prefetch(2)
    options = tf.data.Options()
    options.threading.private_threadpool_size = threads
    batches = data.with_options(options).as_numpy_iterator()
    return lambda: len(next(batches))
