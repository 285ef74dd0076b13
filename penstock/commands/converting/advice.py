"""Measures whether reading single files limits a stream more than decoding them, for `penstock check`."""

from dataclasses import asdict, dataclass
from time import perf_counter

import numpy as np

from penstock.protocol.errors import ItemError
from penstock.protocol.messages import TaskKey
from penstock.protocol.plan import StreamPlan
from penstock.protocol.spec.roots import is_url
from penstock.sources.base import Roots, open_reader
from penstock.sources.fetchers import REQUESTS
from penstock.ventilator.sources.catalog import Catalog
from penstock.worker.imaging.decode import Decoder

#: Kinds with a file for each image, which `penstock convert` joins into shards.
_KINDS = ("directory", "manifest")
#: Images that are read and decoded: those that were not looked at for their sizes, which are in memory by now.
_TIMED = 12


@dataclass(frozen=True, slots=True)
class Reading:
    """What reading and decoding an image take (ms), in the median."""

    read_ms: float
    decode_ms: float

    def as_json(self) -> dict[str, object]:
        """Return it as `penstock check --json` shows it."""
        return {**asdict(self), "sentence": self.sentence}

    @property
    def sentence(self) -> str:
        """What `penstock check` advises; empty if reading does not limit."""
        if self.read_ms <= self.decode_ms:
            return ""
        return (
            f"reading limits: an image takes {self.read_ms:.1f} ms to read, and {self.decode_ms:.1f} ms to decode; "
            "penstock convert writes the images into shards, which are read in long runs"
        )


def time_reading(catalog: Catalog, plan: StreamPlan, roots: Roots) -> Reading | None:
    """Read and decode some images of a stream; None if its images are no single files, or none can be decoded.

    Below a URL, the time of one request counts as little as many at once make it.
    """
    source, transform = plan.settings.source, plan.settings.transform
    if source.kind_name not in _KINDS:
        return None
    reader, decoder = open_reader(plan, roots), Decoder(transform.color, max_megapixels=transform.max_megapixels)
    at_once = REQUESTS if is_url(str(roots[source.root])) else 1
    times: list[tuple[float, float]] = []
    for slot in np.unique(np.linspace(0, plan.items - 1, 2 * _TIMED + 1).astype(int))[1::2].tolist():
        ordinal, offset = divmod(slot, plan.geometry.task_items)
        task = catalog.task(TaskKey(stream=plan.name, ordinal=ordinal, item_offset=offset), 0)
        try:
            began = perf_counter()
            content = reader.read(task).contents[0]
            read = perf_counter()
            if isinstance(content, bytes):
                decoder.decode(content)
                times.append((read - began, perf_counter() - read))
        except ItemError:
            continue
    if not times:
        return None
    read_s, decode_s = np.median(np.array(times), axis=0).tolist()
    return Reading(1e3 * read_s / at_once, 1e3 * decode_s)
