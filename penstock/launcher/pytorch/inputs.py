"""What the drop-in `DataLoader` may be given as its dataset, each as a stack's spec and what batches become.

A folder of images, a torchvision `ImageFolder` (or a `Subset` of one), a spec, or an `ImportedDataset`. torchvision and
PyTorch are not imported: their classes are recognised by module and name.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from penstock.launcher.images import validation_folder
from penstock.launcher.pytorch.finish import Finish
from penstock.launcher.pytorch.imported_dataset import ImportedDataset
from penstock.launcher.pytorch.torchvision_steps import translate
from penstock.protocol.errors import MissingFolderError, SpecError
from penstock.protocol.spec.spec import Spec, as_spec

#: What a stream has that no spec describes, as in PyTorch.
_DEFAULTS = {"batch_size": 1, "shuffle": False}
#: Fields of a batch of a folder's images, in the order of ImageFolder's samples.
_PAIR = ("image", "label")


@dataclass(frozen=True)
class Input:
    """What a DataLoader is over."""

    #: The spec, or its one stream, and settings of the workers.
    spec: Spec | Mapping[str, Any]
    stream: str = "train"
    worker_options: Mapping[str, Any] = field(default_factory=dict)
    #: Fields of a batch; None: all of them.
    fields: tuple[str, ...] | None = _PAIR
    #: Whether batches are dicts instead of tuples.
    as_dict: bool = False
    #: What the end of a torchvision transform makes of `image`.
    finish: Finish | None = None
    #: Whether labels become int64, as PyTorch makes them of whole numbers.
    long_labels: bool = False


def as_input(
    dataset: object, *, transform: object, stream: str, seed: int, given: Mapping[str, Any], fields: Any
) -> Input:
    """Return what a DataLoader is given as its dataset. `given` are settings of the stream that replace a spec's.

    Raises SpecError if it is none of them, MissingFolderError for a path that leads nowhere.
    """
    place = Path(os.fsdecode(dataset)).expanduser() if isinstance(dataset, str | os.PathLike) else None
    if place is not None and place.is_dir():
        return _folder(place, transform, seed, given, fields)
    if transform is not None:
        raise SpecError(f"transform = {transform!r}: it goes with a folder; a dataset or a spec has its own")
    if place is not None or isinstance(dataset, Mapping | Spec):
        return _spec(dataset if place is None else place, stream, given, fields)
    if isinstance(dataset, ImportedDataset):
        one = {**dataset.stream(), **_DEFAULTS, **given}
        names = fields or tuple(dataset.sample)
        return Input(_of_one(one, seed), "train", dataset.worker_options(), names, dataset.is_dict and not fields)
    if image_folder := _image_folder(dataset):
        return _of_image_folder(image_folder[0], image_folder[1], seed, given, fields)
    raise SpecError(_refused(dataset))


def _of_one(stream: Mapping[str, Any], seed: int, **more: Any) -> dict[str, Any]:
    return {"seed": seed, "streams": {"train": stream}, **more}


def _folder(folder: Path, transform: Any, seed: int, given: Mapping[str, Any], fields: Any) -> Input:
    """Return the images of a folder with one subfolder per class."""
    if held := validation_folder(folder):
        raise SpecError(
            f"{str(folder)!r} holds the folders 'train' and {held!r}, which would be its classes: give "
            f"{str(folder / 'train')!r}, and a second DataLoader {str(folder / held)!r}"
        )
    if transform is None:
        raise SpecError(
            f"{str(folder)!r} without a transform: give a torchvision transform, the name of a recipe such as "
            'transform="imagenet-train", or a [transform] of a spec as a mapping'
        )
    finish = None
    if isinstance(transform, str):
        made: Mapping[str, Any] = {"recipe": transform}
    elif isinstance(transform, Mapping):
        made = transform
    else:
        steps, finish = translate(transform)
        made = {"steps": steps}
    stream = {"source": {"kind": "directory", "root": "images"}, "transform": made, **_DEFAULTS, **given}
    spec = _of_one(stream, seed, roots={"images": str(folder.absolute())})
    names = as_spec(spec).streams["train"].transform.image_names  # of a transform with views, all of them
    return Input(spec, fields=fields or (*names, "label"), finish=finish, long_labels=True)


def _spec(given_spec: Any, stream: str, given: Mapping[str, Any], fields: Any) -> Input:
    """Return a stream of a spec; other streams of it are not served."""
    if isinstance(given_spec, Path) and not given_spec.is_file():
        raise MissingFolderError(
            f"dataset = {str(given_spec)!r}: no such folder or file; give a folder with one subfolder per class, "
            "or a spec file"
        )
    if isinstance(given_spec, Mapping):
        streams = given_spec.get("streams")
        if isinstance(streams, Mapping) and isinstance(streams.get(stream), Mapping):
            changed = {**given_spec, "streams": {stream: {**streams[stream], **given}}}
            return Input(changed, stream, fields=fields, as_dict=not fields)
    spec = as_spec(given_spec)
    if stream not in spec.streams:
        raise SpecError(f"stream = {stream!r}: the spec has {', '.join(map(repr, spec.streams))}")
    settings = type(spec.streams[stream]).model_validate(spec.streams[stream].model_dump() | dict(given))
    return Input(spec.model_copy(update={"streams": {stream: settings}}), stream, fields=fields, as_dict=not fields)


class _Frame(dict[str, Sequence[Any]]):
    """Columns by name, as a data frame has them."""

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return list(self)


def _image_folder(dataset: Any) -> tuple[Any, Sequence[int] | None] | None:
    """Return a torchvision ImageFolder, and the indices of a Subset of it; None for anything else."""
    kind = type(dataset)
    if (kind.__module__, kind.__name__) == ("torch.utils.data.dataset", "Subset"):
        inner = _image_folder(dataset.dataset)
        if inner is None:
            return None
        chosen = [int(index) for index in dataset.indices]
        return inner[0], chosen if inner[1] is None else [inner[1][index] for index in chosen]
    bases = {(base.__module__, base.__name__) for base in kind.__mro__}
    return (dataset, None) if ("torchvision.datasets.folder", "DatasetFolder") in bases else None


def _of_image_folder(
    dataset: Any,
    indices: Sequence[int] | None,
    seed: int,
    given: Mapping[str, Any],
    fields: Any,
) -> Input:
    """Return the samples of a torchvision ImageFolder, in its order, with its labels."""
    module = "torchvision.datasets.folder"
    loader = dataset.loader
    if type(dataset).__getitem__.__module__ != module:
        raise SpecError(f"{type(dataset).__name__} has a __getitem__ of its own: give {_IMPORTED}")
    if getattr(loader, "__module__", "") != module or loader.__name__ not in ("default_loader", "pil_loader"):
        raise SpecError(f"dataset.loader = {loader!r}: only torchvision's own loaders are replaced: give {_IMPORTED}")
    if dataset.target_transform is not None:
        raise SpecError(
            f"target_transform = {dataset.target_transform!r}: change the labels of whole batches in the training loop"
        )
    steps, finish = translate(dataset.transform)
    root = os.path.abspath(dataset.root)  # noqa: PTH100 - as torchvision has it, with its links
    samples = dataset.samples if indices is None else [dataset.samples[index] for index in indices]
    paths = [os.path.relpath(path, root) for path, _ in samples]
    if outside := next((path for path in paths if path.startswith("..")), ""):
        raise SpecError(f"{outside!r} lies outside of the dataset's root {root!r}: give {_IMPORTED}")
    frame = _Frame(path=paths, label=[dataset.classes[target] for _, target in samples])
    source = {"kind": "manifest", "frame": frame, "root": "images", "classes": list(dataset.classes)}
    stream = {"source": source, "transform": {"steps": steps}, **_DEFAULTS, **given}
    spec = _of_one(stream, seed, roots={"images": root})
    return Input(spec, fields=fields or _PAIR, finish=finish, long_labels=True)


_IMPORTED = "penstock.torch.ImportedDataset with an importable class or function, which runs as it is"


def _refused(dataset: object) -> str:
    """Return why something is refused as a dataset, and how to name it so that workers can import it."""
    made_by = dataset if isinstance(dataset, type) else type(dataset)
    if made_by.__module__ == "__main__":
        instead = f"move class {made_by.__qualname__} from the script into a module of its own, and give "
    else:
        instead = "give "
    name = made_by.__qualname__ if hasattr(made_by, "__getitem__") and made_by.__module__ != "builtins" else "TheClass"
    return (
        f"dataset = {dataset!r}: workers import a dataset and are sent no objects, pickled or otherwise: {instead}"
        f"penstock.torch.ImportedDataset({name}, its='arguments'); or give a folder of images, a torchvision "
        "ImageFolder or a spec"
    )
