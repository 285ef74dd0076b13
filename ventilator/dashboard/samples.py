"""Small pictures of samples that the sink holds, for the dashboard.

Asks the sink for previews with the ventilator's key; that makes no samples, delays none and takes none from trainers.
There is one question at a time, at most every few seconds and only when a page asks; all pages share the answer. Pillow
and other imaging libraries are imported with the first question, in a thread.
"""

import asyncio
import base64
import io
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from penstock.protocol.errors import PenstockError
from penstock.protocol.transport.addresses import reachable
from penstock.protocol.transport.keys import open_keys

if TYPE_CHECKING:
    from penstock.observe.sample_client import SampleCollection

#: A sink on this host may report a wildcard address; the receiver replaces it by the host that it knows.
_HERE = "127.0.0.1"
#: Seconds for which one answer is shown to all pages.
AGAIN_S = 3.0
#: Pictures at most, and their longest side (pixels), with targets too: twice what the page shows, for dense screens.
MOST_PICTURES, _SIDE, _SIDE_WITH_TARGETS = 24, 192, 304
#: Pictures with targets at most, and the size of class names as a part of their longest side.
_MOST_WITH_TARGETS, _NAME_SHARE = 12, 0.07
#: Longest wait for the sink (s): where nothing is held, it shows the next result that comes.
_WAIT_S = 2.0
#: Quality of JPEG pictures.
_QUALITY = 82
#: Streams whose pictures are remembered.
_MOST_STREAMS = 16

#: Returns the name of an item of a stream (its path below the root); empty if it is not known.
NameItem = Callable[[str, int], str]


class SampleViewer:
    """Shows samples of any stream to pages. Lives in the dashboard's event loop."""

    def __init__(self, keys: str) -> None:
        """Start without a sink; `keys` is the ventilator's key folder, or empty."""
        #: The sink's address for trainers; empty without a sink.
        self.sink = ""
        #: Names items; the sink has only their numbers.
        self.name: NameItem = lambda _stream, _item: ""
        self._keys = keys
        self._known: dict[str, tuple[float, dict[str, Any]]] = {}
        self._asking = asyncio.Lock()

    async def show(self, stream: str) -> dict[str, Any]:
        """Return pictures with their captions, or why there are none."""
        async with self._asking:
            at, answer = self._known.get(stream, (0.0, {}))
            if time.monotonic() < at + AGAIN_S and answer:
                return answer
            answer = await asyncio.to_thread(self._ask, stream, self.sink)
            self._known.pop(stream, None)
            self._known[stream] = time.monotonic(), answer
            if len(self._known) > _MOST_STREAMS:
                del self._known[next(iter(self._known))]
            return answer

    def _ask(self, stream: str, sink: str) -> dict[str, Any]:
        if not sink:
            return _nothing("no sink is connected")
        # Brings Pillow, which the ventilator needs for nothing else.
        from penstock.observe.sample_client import SampleCollection, collect_samples  # noqa: PLC0415

        seen = SampleCollection(stream, MOST_PICTURES)
        try:
            keys = open_keys(self._keys, "ventilator")
            collect_samples(reachable(sink, _HERE), keys, seen, wait_s=_WAIT_S, still_s=0.0)
        except PenstockError as error:
            return _nothing(str(error))
        if seen.samples:
            assert seen.plan  # noqa: S101 - samples come with the plan that they were made by
            is_large = bool(seen.plan.settings.targets)  # class names are to be read
            return {"why": "", "large": is_large, "pictures": list(_pictures(seen, self.name))}
        if seen.has_readers is None:
            return _nothing(f"the sink did not answer at {sink}")
        return _nothing(
            "the sink holds none right now" if seen.has_readers else "no trainer reads this stream, so nothing is made"
        )


def _nothing(why: str) -> dict[str, Any]:
    return {"why": why, "pictures": []}


def _pictures(seen: "SampleCollection", called: NameItem) -> Iterator[dict[str, Any]]:
    """Yield the pictures as the page shows them."""
    from penstock.contact_sheet.pictures import resize, to_picture  # noqa: PLC0415
    from penstock.contact_sheet.samples import arranged, lines, picture_names, ranges, texts  # noqa: PLC0415 - as above
    from penstock.contact_sheet.targets import draw_targets  # noqa: PLC0415 - as above

    assert seen.plan  # noqa: S101 - samples come with the plan that they were made by
    plan, names = seen.plan, picture_names(seen.plan)
    shown = [
        (sample, name, image)
        for sample in seen.samples
        for name in names
        if (image := arranged(plan, sample, name)) is not None
    ][: _MOST_WITH_TARGETS if plan.settings.targets else MOST_PICTURES]
    levels = ranges(plan, ((name, image) for _, name, image in shown))
    for sample, name, image in shown:
        small = resize(image, _SIDE_WITH_TARGETS if plan.settings.targets else _SIDE)
        path = called(seen.stream, int(sample.fields["item"]))
        is_enlarged = small.shape[0] > image.shape[0]
        file = io.BytesIO()
        # Enlarged pictures show single pixels: few colours, sharp edges.
        picture = draw_targets(to_picture(small, levels[name]), plan, sample.fields, name, _NAME_SHARE)
        picture.save(file, "PNG" if is_enlarged else "JPEG", quality=_QUALITY)
        kind = "png" if is_enlarged else "jpeg"
        yield {
            "position": sample.position,
            "starts_row": len(names) > 1 and name == names[0],
            "path": path,
            "lines": lines(plan, replace(sample, item=path or sample.item), name),
            "texts": texts(plan, sample, name),
            "picture": f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}",
        }
