"""Lists and reads sources of any kind whose files hold many images each."""

from pathlib import Path

from penstock.protocol.messages import TaskKey
from penstock.protocol.spec.source import model_of
from penstock.protocol.spec.spec import parse_spec
from penstock.sources.base import Listing, list_source, open_reader
from penstock.ventilator.sources.catalog import Catalog

#: Bytes that pass for images where nothing is decoded, and the class of each.
IMAGES = [bytes([65 + number]) * (700 * number + 1) for number in range(6)]
LABELS = ["dog", "cat", "dog", "cat", "10", "dog"]


def listed(root: Path | str, kind: str, path: str, **fields: object) -> Listing:
    """List a source below `root`."""
    given = {"kind": kind, "root": "photos", "path": path, **fields}
    return list_source(model_of(given).model_validate(given), {"photos": str(root)})


def catalog(root: Path | str, **source: object) -> Catalog:
    """Return the catalog of a stream that is not shuffled, one task an epoch."""
    stream = {
        "source": {"root": "photos", **source},
        "transform": {"resize": {"height": 4, "width": 4}},
        "shuffle": False,
    }
    spec = parse_spec({"seed": 1, "roots": {"photos": str(root)}, "streams": {"train": stream}})
    return Catalog.open(spec, spec.roots)


def read(found: Catalog, root: Path | str) -> list[object]:
    """Return what a worker reads of every item, in order."""
    [plan] = found.plans
    task = found.task(TaskKey(stream="train", ordinal=0), 0)
    return list(open_reader(plan, {"photos": str(root)}).read(task).contents)


def labels(listing: Listing) -> list[str]:
    """Return the class of each item."""
    return [listing.classes[listing.label(index)] for index in range(len(listing))]
