"""Other loaders on the work of a stream: PyTorch's DataLoader and tf.data, both with Penstock's own kernel.

Both make the same pixels as the stream: every item goes through the stream's own transform. What differs is what lies
around it: processes or threads, and how samples are collected. Neither keeps an order, nor sets bad items apart.
"""

import copy
import importlib
import os
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from penstock.bench.results import LOADERS
from penstock.launcher.images import images_spec
from penstock.launcher.links import follow_links
from penstock.protocol.errors import PenstockError, SpecError
from penstock.protocol.messages import TaskKey
from penstock.protocol.plan import StreamPlan
from penstock.protocol.spec.spec import Spec, load_spec, parse_spec
from penstock.protocol.wire import Array
from penstock.ventilator.sources.catalog import Catalog
from penstock.worker.imaging.parts.opening import open_any

#: Least samples that tf.data shuffles among.
_SHUFFLED = 1024


def parse_loaders(text: str) -> list[str]:
    """Return the loaders that `--against` names. Raises SpecError, and PenstockError for one that is not installed."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in LOADERS:
            raise SpecError(f"--against {text!r}: {name!r} is not known; there are: {', '.join(LOADERS)}")
        loader = LOADERS[name]
        if find_spec(loader.module) is None:
            raise PenstockError(
                f"--against {text!r}: {loader.title} needs {loader.module}, which is not installed here: "
                f"pip install 'penstock[{loader.extra}]', or leave {name!r} out"
            )
    if len(set(names)) != len(names) or (text and not names):
        raise SpecError(f"--against {text!r}: give each loader once, such as {','.join(LOADERS)}")
    return names


def open_spec(path: str) -> Spec:
    """Return the spec at a path, or that of a folder of images. Raises SpecError."""
    if not Path(path).exists():
        raise SpecError(f"{path}: no such file or folder; give a spec, which is a TOML file, or a folder of images")
    if not Path(path).is_dir():
        return load_spec(path)
    options: dict[str, Any] = {"size": None, "recipe": None, "validation_split": 0.0, "augment": None, "classes": None}
    return parse_spec(images_spec(path, options | {"batch_size": 32, "color": "rgb", "fit": "stretch", "seed": 0}))


class Items:
    """A stream's items as a map-style dataset: item number `index` gives its samples' images and labels.

    A process opens the source when it first asks for an item, so that processes which a loader forks share nothing.
    """

    def __init__(self, spec: Spec, roots: Mapping[str, str]) -> None:
        """Take the spec of one stream. Raises SpecError and SourceError."""
        self._known = spec.map_roots(spec.known_roots(roots))
        self._spec = follow_links(spec, self._known)
        self._opened: tuple[int, Callable[[int], list[Array]]] | None = None
        [self.plan] = Catalog.open(self._spec, self._known).plans
        names = [field.name for field in self.plan.schema]
        #: Places of the fields that loaders get.
        self._places = [0, *([names.index("label")] if "label" in names else [])]

    def __len__(self) -> int:
        """Return how many items an epoch has."""
        return self.plan.items

    def __getitem__(self, index: int) -> tuple[Array, ...]:
        """Return the images and labels of an item's samples. Raises PenstockError if there are none."""
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = os.getpid(), self._open()
        fields = self._opened[1](index)
        return tuple(fields[place] for place in self._places)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is open: another process opens it anew."""
        return self.__dict__ | {"_opened": None}

    def _open(self) -> Callable[[int], list[Array]]:
        catalog = Catalog.open(self._spec, self._known)
        pipeline, size = open_any(self.plan, self._known), self.plan.geometry.task_items

        def make(index: int) -> list[Array]:
            ordinal, offset = divmod(index, size)
            outcome = pipeline.run(catalog.task(TaskKey(stream=self.plan.name, ordinal=ordinal, item_offset=offset), 0))
            for failure in outcome.failures:
                raise PenstockError(
                    f"{failure.path}: {failure.reason}; other loaders set no bad items apart: remove it, or leave "
                    "--against out"
                )
            return outcome.arrays

        return make


class LoaderSource:
    """Batches of another loader, as `run.Source`."""

    #: The highest value of an image; nothing is trained on it.
    whole = 255.0

    def __init__(self, items: Items, batches: Callable[[int], Iterator[int]]) -> None:
        """Take the items, and what yields the number of samples of each batch, given the items of a batch."""
        self.plan: StreamPlan = items.plan
        settings = self.plan.settings
        self._items, self._batches = max(1, settings.batch_size // settings.patches), batches
        self.batch_size = self._items * settings.patches
        self.samples = len(items) * settings.patches
        self.batches = -(-len(items) // self._items)

    def __iter__(self) -> Iterator[int]:
        """Yield batches without end; each is only counted."""
        while True:
            yield from self._batches(self._items)


def open_loader(library: str, spec: Spec, roots: Mapping[str, str], workers: int) -> LoaderSource:
    """Return a stream's batches by another loader with so many workers. Raises SpecError and SourceError."""
    items = Items(spec, roots)
    return LoaderSource(items, _torch(items, workers) if library == "torch" else _tf_data(items, workers))


def _torch(items: Items, workers: int) -> Callable[[int], Iterator[int]]:
    """Return epochs of a DataLoader, whose processes stay from one epoch to the next."""
    data: Any = importlib.import_module("torch.utils.data")  # takes seconds, and only this needs it

    made: list[Any] = []

    def epoch(size: int) -> Iterator[int]:
        if not made:
            made.append(data.DataLoader(items, size, shuffle=True, num_workers=workers, persistent_workers=workers > 0))
        for batch in made[0]:
            yield len(batch[0]) * batch[0].shape[1]

    return epoch


def _tf_data(items: Items, threads: int) -> Callable[[int], Iterator[int]]:
    """Return epochs of a dataset that calls the kernel in so many threads, each call with a kernel that no other has.

    Not by `threading.local`: to Python, a thread of TensorFlow's is another one at each call, so that every item would
    list the folder again and open a kernel.
    """
    import tensorflow as tf  # noqa: PLC0415 - takes seconds, and only this needs it

    idle: list[Items] = []
    probe = items[0]

    def make(index: Any) -> Any:  # noqa: ANN401 - a tensor's number
        try:
            own = idle.pop()
        except IndexError:
            own = copy.copy(items)
        try:
            return own[int(index)]
        finally:
            idle.append(own)

    def fields(index: Any) -> Any:  # noqa: ANN401 - a tensor
        made = tf.numpy_function(make, [index], [array.dtype for array in probe])
        return tuple(tf.ensure_shape(tensor, array.shape) for tensor, array in zip(made, probe, strict=True))

    options = tf.data.Options()
    options.threading.private_threadpool_size = max(1, threads)

    def epoch(size: int) -> Iterator[int]:
        numbers = tf.data.Dataset.range(len(items)).shuffle(max(_SHUFFLED, len(items)))
        data = numbers.map(fields, num_parallel_calls=max(1, threads)).batch(size).prefetch(2)
        for batch in data.with_options(options):
            yield int(batch[0].shape[0]) * int(batch[0].shape[1])

    return epoch
