"""Makes the targets of a task's samples: reads the files that cells name, loads each item's targets and moves them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from penstock.protocol.errors import ItemError
from penstock.protocol.order import Int64s
from penstock.protocol.plan import StreamPlan
from penstock.protocol.records import Item, Task
from penstock.protocol.spec.targets.boxes import BoxesTarget
from penstock.protocol.spec.targets.image import ImageTarget
from penstock.protocol.spec.targets.keypoints import KeypointsTarget
from penstock.protocol.spec.targets.mask import MaskTarget
from penstock.protocol.spec.targets.polygons import OrientedBoxesTarget, PolygonsTarget
from penstock.protocol.spec.targets.target import Target
from penstock.protocol.spec.targets.values import LabelsTarget, NumbersTarget, TextTarget
from penstock.protocol.wire import Array
from penstock.sources.base import Loaded, Reader
from penstock.sources.file_listing import prefix_of
from penstock.sources.manifest_rows import path_problem
from penstock.sources.tables.formats import row_name
from penstock.worker.imaging.program import Program
from penstock.worker.imaging.steps import Steps
from penstock.worker.imaging.targets.base import TargetLoader
from penstock.worker.imaging.targets.boxes import BoxesLoader
from penstock.worker.imaging.targets.images import ImageLoader, own_colors
from penstock.worker.imaging.targets.keypoints import KeypointsLoader
from penstock.worker.imaging.targets.masks import MaskLoader
from penstock.worker.imaging.targets.outlines import OrientedBoxesLoader, PolygonsLoader
from penstock.worker.imaging.targets.values import LabelsLoader, NumbersLoader, TextLoader


@dataclass(frozen=True, slots=True)
class _Named:
    """A target, its name, and where it goes."""

    name: str
    target: Target
    loader: TargetLoader
    #: Which of an item's cells holds it.
    cell: int
    #: One for each view that it moves with; without views, one.
    places: tuple["_Place", ...]


@dataclass(frozen=True, slots=True)
class _Place:
    """A target with one image of a sample."""

    #: Which of the sample's images.
    image: int
    #: Names of its fields.
    fields: tuple[str, ...]
    #: Makes its programs, which share their geometry with the samples'; None: those of the samples.
    steps: Steps | None


class Targets:
    """The targets of one stream."""

    def __init__(self, plan: StreamPlan) -> None:
        """Take the stream's plan."""
        settings = plan.settings
        columns = settings.target_columns
        places: dict[str, list[_Place]] = {name: [] for name in settings.targets}
        images = settings.transform.image_names
        for placed in settings.placed_targets:
            own = isinstance(placed.target, ImageTarget) and placed.target.colors == "own"
            image = images.index(placed.image)
            steps = own_colors(plan, image, placed.name) if own else None
            places[placed.name].append(_Place(image, tuple(placed.fields), steps))
        self._targets = [
            _Named(name, target, _loader(target, plan), columns.index(target.column), tuple(places[name]))
            for name, target in settings.targets.items()
        ]
        self._patches = settings.patches
        self._plan = plan

    def __bool__(self) -> bool:
        """Return whether there are any."""
        return bool(self._targets)

    def _manifest(self, item: Item) -> str:
        """Return what messages call the file that lists an item."""
        source, part = self._plan.settings.source, self._plan.parts_of(np.array([item.item]))
        if part is not None:
            from penstock.sources.choice.mixture import MixtureSource  # noqa: PLC0415 - only mixtures have parts

            assert isinstance(source, MixtureSource)  # noqa: S101 - as `parts_of` says
            source = list(source.parts.values())[int(part[0])].source
        return str(getattr(source, "path", "") or source.kind_name)

    def begin(self, epoch: int, items: Int64s) -> None:
        """Draw for what has random numbers of its own."""
        for place in (place for named in self._targets for place in named.places):
            if place.steps is not None:
                place.steps.begin(epoch, items, self._patches)

    def read(self, task: Task, loaded: Loaded, reader: Reader) -> Loaded:
        """Return what was read of a task with the files that its cells name, read by the source's own reader."""
        files: dict[str, Sequence[bytes | ItemError]] = {}
        for named in self._targets:
            if named.target.files_in is not None:
                cells = [_cell(item, named.cell) for item in task.items]
                files[named.name] = _files(task, named.target.files_in, cells, reader)
        return replace(loaded, files=files)

    def write(
        self,
        item: Item,
        offset: int,
        loaded: Loaded,
        programs: Sequence[Sequence[Program]],
        arrays: Mapping[str, Array],
        row: int,
    ) -> None:
        """Write the targets of an item's samples, from row `row` on. Raises ItemError, and then rows may hold anything.

        `programs` are those that made the samples' images: for each view, one a sample.
        """
        size = programs[0][0].image
        for named in self._targets:
            files = loaded.files.get(named.name)
            try:
                cell = _cell(item, named.cell)
                target = named.loader.load(cell, files[offset] if files is not None else None, size)
            except ItemError as error:
                where = item.path if item.row is None else row_name(self._manifest(item), item.row)
                raise ItemError(f"{where}: {named.target.column} (target {named.name}): {error}") from error
            for place in named.places:
                out = [arrays[name] for name in place.fields]
                for patch, program in enumerate(programs[place.image]):
                    if place.steps is not None:
                        program = place.steps.program(offset * self._patches + patch, size)  # noqa: PLW2901
                    target.write(program, out, row + patch)


def _loader(target: Target, plan: StreamPlan) -> TargetLoader:
    match target:
        case BoxesTarget():
            return BoxesLoader(target)
        case OrientedBoxesTarget():
            return OrientedBoxesLoader(target)
        case PolygonsTarget():
            return PolygonsLoader(target)
        case ImageTarget():
            return ImageLoader(target, plan)
        case MaskTarget():
            return MaskLoader(target)
        case KeypointsTarget():
            return KeypointsLoader(target)
        case LabelsTarget():
            return LabelsLoader(target)
        case NumbersTarget():
            return NumbersLoader(target)
        case TextTarget():
            return TextLoader(target)
        case _:
            raise TypeError(f"{type(target).__name__}: no loader is known for this kind of target")


def _cell(item: Item, place: int) -> str:
    return item.cells[place] if place < len(item.cells) else ""


def _files(task: Task, folder: str, paths: Sequence[str], reader: Reader) -> Sequence[bytes | ItemError]:
    """Return the content of each file in a folder below the root, or why it cannot be had."""
    problems, prefix = [path_problem(path) for path in paths], prefix_of(folder).decode()
    items = [
        Item(item=item.item, path=prefix + path, label=-1)
        for item, path, problem in zip(task.items, paths, problems, strict=True)
        if not problem
    ]
    contents: Iterator[Any] = iter(reader.read(task.replaced(items=tuple(items))).contents)
    return [ItemError(f"the path {problem}") if problem else next(contents) for problem in problems]
