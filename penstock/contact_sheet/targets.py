"""Draws targets over a sample's picture: boxes, masks and keypoints; and writes labels and captions as lines."""

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw

from penstock.contact_sheet.sheet import font, spell
from penstock.protocol.plan import StreamPlan
from penstock.protocol.spec.operation import Size
from penstock.protocol.spec.targets.boxes import BoxesTarget
from penstock.protocol.spec.targets.keypoints import KeypointsTarget
from penstock.protocol.spec.targets.mask import MaskTarget
from penstock.protocol.spec.targets.placed import PlacedTarget
from penstock.protocol.spec.targets.polygons import OutlineTarget, PolygonsTarget
from penstock.protocol.spec.targets.values import LabelsTarget, NumbersTarget, TextTarget
from penstock.protocol.wire import Array

#: Colours of classes and objects, which repeat; red, green and blue.
_COLOURS = (
    (230, 25, 75),
    (60, 180, 75),
    (67, 99, 216),
    (245, 130, 49),
    (145, 30, 180),
    (0, 165, 165),
    (240, 50, 230),
    (154, 99, 36),
    (128, 128, 0),
    (0, 0, 117),
)
#: Share of a mask's colour over the image; of pixels without a class, which are gray.
_MASK_SHARE, _IGNORED = 0.45, (128, 128, 128)
#: Size of class names, and of the picture from which lines have two pixels, three and so on.
_TEXT_PX, _LINE_PER_PX = 11, 160
#: Keypoints that are labelled but hidden are drawn as rings.
_HIDDEN = 1

Fields = Mapping[str, Array]


def draw_targets(
    picture: Image.Image, plan: StreamPlan, fields: Fields, image: str = "image", name_share: float = 0.0
) -> Image.Image:
    """Return the picture of one of a sample's images with its targets drawn over it; `picture` may have any size.

    Names of classes have this share of its longest side as their height, and 11 pixels at least.
    """
    found = [
        (placed.target, arrays)
        for placed in plan.settings.placed_targets
        if placed.image == image and (arrays := _fields(placed, fields))
    ]
    if not found:
        return picture
    size: Size = plan.settings.transform.image_shapes[image][:2]
    scale = picture.width / size[1], picture.height / size[0]
    for target, (mask, *_) in found:
        if isinstance(target, MaskTarget):
            picture = _masked(picture, mask, target)
    page, sizes = ImageDraw.Draw(picture), (_line(picture), max(_TEXT_PX, round(max(picture.size) * name_share)))
    for target, arrays in found:
        if isinstance(target, BoxesTarget):
            _boxes(page, target, arrays, scale, sizes)
        elif isinstance(target, OutlineTarget):
            _outlines(page, target, arrays, scale, sizes)
        elif isinstance(target, KeypointsTarget):
            _keypoints(page, arrays, scale, sizes[0])
    return picture


def target_lines(plan: StreamPlan, fields: Fields) -> list[str]:
    """Return the labels and texts of a sample, one a line."""
    lines = []
    for placed in plan.settings.placed_targets:
        target, arrays = placed.target, _fields(placed, fields)
        if isinstance(target, LabelsTarget) and arrays:
            labels = ", ".join(target.classes[label] for label in np.flatnonzero(arrays[0]))
            lines.append(f"{placed.name} {labels or 'none'}")
        elif isinstance(target, TextTarget) and arrays:
            text = arrays[0][: int(arrays[1])].tobytes().decode(errors="replace")
            lines.append(f"{placed.name} {' '.join(text.split())}")
    return lines


def shown_elsewhere(plan: StreamPlan) -> set[str]:
    """Return the fields of targets that are drawn, or only say how much of another field is used."""
    placed = plan.settings.placed_targets
    return {field for each in placed if not isinstance(each.target, NumbersTarget) for field in each.fields}


def _fields(placed: PlacedTarget, fields: Fields) -> list[Array]:
    """Return the fields of a target; none if a custom transform has left others in their place."""
    found = []
    for field, made in placed.fields.items():
        array = fields.get(field)
        if array is None or array.shape != made.shape or array.dtype != made.dtype:
            return []
        found.append(array)
    return found


def _line(picture: Image.Image) -> int:
    return 1 + max(picture.size) // _LINE_PER_PX


def _masked(picture: Image.Image, mask: Array, target: MaskTarget) -> Image.Image:
    colours = np.array([_COLOURS[label % len(_COLOURS)] for label in range(256)], np.uint8)
    colours[target.ignore] = _IGNORED
    large = np.asarray(Image.fromarray(mask).resize(picture.size, Image.Resampling.NEAREST))
    drawn = np.asarray(picture)
    mixed = np.rint(drawn * (1 - _MASK_SHARE) + colours[large] * _MASK_SHARE).astype(np.uint8)
    return Image.fromarray(np.where(large[..., np.newaxis] == 0, drawn, mixed))  # class 0 is most often the background


def _boxes(
    page: ImageDraw.ImageDraw,
    target: BoxesTarget,
    arrays: Sequence[Array],
    scale: tuple[float, float],
    sizes: tuple[int, int],
) -> None:
    """Draw boxes; `sizes` are those of lines and of names (pixels)."""
    boxes, count = arrays[0], int(arrays[1])
    labels = arrays[2].tolist() if len(arrays) > 2 else range(len(boxes))  # noqa: PLR2004 - the third is the class
    for (left, top, right, bottom), label in zip(boxes[:count].tolist(), labels, strict=False):
        colour = _COLOURS[label % len(_COLOURS)]
        corner = round(left * scale[0]), round(top * scale[1])
        last = max(corner[0], round(right * scale[0]) - 1), max(corner[1], round(bottom * scale[1]) - 1)
        page.rectangle((corner, last), None, colour, sizes[0])
        if target.classes is not None and 0 <= label < len(target.classes):
            _name(page, target.classes[label], corner, colour, sizes[1])


def _outlines(
    page: ImageDraw.ImageDraw,
    target: OutlineTarget,
    arrays: Sequence[Array],
    scale: tuple[float, float],
    sizes: tuple[int, int],
) -> None:
    """Draw polygons, or oriented boxes, which all have four corners; `sizes` as for boxes."""
    if isinstance(target, PolygonsTarget):
        corner_counts, count, labels = arrays[1].tolist(), int(arrays[3]), arrays[4:]
    else:
        corner_counts, count, labels = [4] * len(arrays[0]), int(arrays[1]), arrays[2:]
    for at, (corners, size) in enumerate(zip(arrays[0][:count], corner_counts, strict=False)):
        label = int(labels[0][at]) if labels else at
        colour = _COLOURS[label % len(_COLOURS)]
        places = [(round(x * scale[0]), round(y * scale[1])) for x, y in corners[:size].tolist()]
        page.line([*places, places[0]], colour, sizes[0])
        if target.classes is not None:
            _name(page, target.classes[label], min(places, key=lambda place: place[1]), colour, sizes[1])


def _name(
    page: ImageDraw.ImageDraw, name: str, corner: tuple[int, int], colour: tuple[int, int, int], size_px: int
) -> None:
    """Write a class name on its colour: above the corner, or below it where there is no room, and further left."""
    words, face = spell(name), font(size_px)
    left, top, right, bottom = page.textbbox((0, 0), words, face)
    width, height = round(right - left) + 3, round(bottom - top) + 2
    x = max(0, min(corner[0], page.im.size[0] - 1 - width))
    y = corner[1] - height if corner[1] >= height else corner[1]
    page.rectangle((x, y, x + width, y + height), colour)
    page.text((x + 2 - left, y + 1 - top), words, "white", face)


def _keypoints(page: ImageDraw.ImageDraw, arrays: Sequence[Array], scale: tuple[float, float], line: int) -> None:
    points, states = arrays[0], arrays[1]
    count = points.shape[-2]
    for at, ((x, y), state) in enumerate(zip(points.reshape(-1, 2).tolist(), states.ravel().tolist(), strict=True)):
        if not state:
            continue
        colour = _COLOURS[at % count % len(_COLOURS)]
        middle, reach = (x * scale[0] - 0.5, y * scale[1] - 0.5), line + 1
        place = (middle[0] - reach, middle[1] - reach, middle[0] + reach, middle[1] + reach)
        if state == _HIDDEN:
            page.ellipse(place, None, colour, line)
        else:
            page.ellipse(place, colour, "white", 1)
