"""Shows a feed and a batch in a notebook: progress, and a contact sheet. Pictures are drawn by `contact_sheet`."""

import base64
import io
from collections.abc import Mapping, Sequence

import numpy as np

from penstock.protocol.plan import FieldSchema
from penstock.protocol.spec import html
from penstock.protocol.wire import Array

#: Most images of a batch that are drawn, and their longest side (pixels).
_SHOWN, _SIDE = 16, 128


class Batch(dict[str, Array]):
    """A batch that draws itself in a notebook; otherwise a dict of arrays by field, as iterating yields them."""

    def __init__(self, fields: Mapping[str, Array], schema: Sequence[FieldSchema], classes: Sequence[str]) -> None:
        """Take the fields, and what is known of them."""
        super().__init__(fields)
        self._schema, self._classes = tuple(schema), tuple(classes)

    def _repr_html_(self) -> str:
        """Return a contact sheet, and the shapes of all fields."""
        size = len(next(iter(self.values())))
        rows = [(html.text(name), html.text(array.dtype), html.text(array.shape)) for name, array in self.items()]
        shown = f"{size} samples" if size <= _SHOWN else f"the first {_SHOWN} of {size} samples"
        parts = [html.grid(self._pictures()), html.table(("field", "dtype", "shape"), rows)]
        return html.box("Batch", shown, *parts)

    def _pictures(self) -> list[tuple[str, str]]:
        from penstock.contact_sheet.pictures import arrange, find_range, resize, to_picture  # noqa: PLC0415 - Pillow

        field = self._schema[0]
        first = field.axes == "chw" if field.axes else None
        found = [arrange(image, channels_first=first) for image in self[field.name][:_SHOWN]]
        images = [None if image is None else resize(image, _SIDE) for image in found]
        levels = find_range(field.dtype, [image for image in images if image is not None])
        pictures = []
        for index, image in enumerate(images):
            if image is not None:
                file = io.BytesIO()
                to_picture(image, levels).save(file, "PNG")
                url = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
                pictures.append((url, self._caption(index)))
        return pictures

    def _caption(self, index: int) -> str:
        label = self.get("label")
        if label is None or label.ndim != 1 or not np.issubdtype(label.dtype, np.integer):
            return ""
        number = int(label[index])
        return self._classes[number] if 0 <= number < len(self._classes) else f"label {number}"


def feed_html(name: str, state: str, position: int, epoch: tuple[int, int, int] | None, classes: Sequence[str]) -> str:
    """Return a feed; `epoch` is its number and the positions where it begins and ends, None while that is unknown."""
    if epoch is None:
        return html.box(name, state, html.line("not connected yet: iterate it, or call peek()"))
    number, start, stop = epoch
    row = (f"{number + 1}", html.bar(position - start, stop - start), html.text(_some(classes)))
    return html.box(name, state, html.table(("epoch", "samples taken", "classes"), [row]))


def _some(classes: Sequence[str], most: int = 10) -> str:
    more = f" and {len(classes) - most} more" if len(classes) > most else ""
    return f"{len(classes)}: {', '.join(classes[:most])}{more}" if classes else "none"
