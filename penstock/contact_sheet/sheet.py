"""Contact sheets: pictures in rows, each with lines of text under it, on one light page.

Holds the layout of a sheet and writes it to a file; `samples.py` supplies the pictures.
"""

import math
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from penstock.protocol.errors import SpecError

#: Colours: the page, text, text of less weight, the frame of a picture, and of a tile that names a failure.
_PAGE, _TEXT, _GRAY, _FRAME = "#fcfcfa", "#1b1b1b", "#5c5c5c", "#d8d8d4"
_FAILED_PAGE, _FAILED_TEXT = "#fbe9e7", "#8c1d18"
#: Sizes of text, and of the space under a picture, around tiles and around the page (pixels).
_TITLE_PX, _FIRST_PX, _OTHER_PX, _LEADING_PX, _GAP_PX, _MARGIN_PX = 20, 14, 12, 3, 12, 16
#: Narrowest column (pixels): class names want some room.
_COLUMN_PX = 128
#: Width of a sheet over its height, at which the number of columns aims.
_ASPECT = 1.5
#: Most tiles that a row holds for belonging together.
_MOST_TOGETHER = 16
_ELLIPSIS = "…"
#: Lines of a longer text at most.
_TEXT_LINES = 4
#: Fonts that have the letters of most scripts, looked for among the system's; else Pillow's own, which has few signs.
_FONTS = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "LiberationSans-Regular.ttf", "Arial.ttf")
#: Replacement for characters that a font lacks, even without their accents.
_SPELT = {"×": "x", "−": "-", "–": "-", "—": "-", "µ": "u", "≤": "<=", "≥": ">="}

#: The kinds of file that are written, and how: text must stay sharp. Pillow writes others too, of which PDF is no
#: picture and GIF has too few colours.
_OPTIONS: dict[str, dict[str, Any]] = {
    ".png": {},
    ".jpg": {"quality": 90, "subsampling": 0},
    ".jpeg": {"quality": 90, "subsampling": 0},
    ".webp": {"quality": 90},
}

_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True, slots=True)
class Tile:
    """One picture, or an explanation why there is none, and the lines under it."""

    content: Image.Image | str
    lines: Sequence[str]
    #: Longer texts below these, such as captions, each broken into a few lines.
    texts: Sequence[str] = ()


def check_output(path: str) -> Path:
    """Return the path of a sheet. Raises SpecError if it cannot be written; called before anything slow."""
    target = Path(path)
    if target.suffix.lower() not in _OPTIONS:
        raise SpecError(f"--output {path!r}: give a file name that ends in .png, .jpg or .webp")
    if not target.parent.is_dir():
        raise SpecError(f"--output {path!r}: no folder {str(target.parent)!r}; make it first")
    return target


def write(sheet: Image.Image, path: Path) -> None:
    """Write a sheet. Raises SpecError if that fails."""
    try:
        sheet.save(path, **_OPTIONS[path.suffix.lower()])
    except (OSError, ValueError) as error:
        raise SpecError(f"--output {str(path)!r}: cannot be written: {error}") from error


def draw(title: str, notes: Sequence[str], tiles: Sequence[Tile | None], *, together: int = 1) -> Image.Image:
    """Return the sheet: the title and a line for each note above, then the tiles in reading order; None is a gap.

    A row holds whole groups of `together` tiles, unless a group is wider than a screen.
    """
    pictures = [tile.content for tile in tiles if tile and isinstance(tile.content, Image.Image)]
    height = max([picture.height for picture in pictures], default=_COLUMN_PX)
    widths = _widths(tiles, together if together <= _MOST_TOGETHER else 1)
    words = [_below(tile, widths[index % len(widths)]) for index, tile in enumerate(tiles)]
    text_height = _line_px(_FIRST_PX) + max(0, max(map(len, words), default=0) - 1) * _line_px(_OTHER_PX)
    step = sum(widths) / len(widths) + _GAP_PX, height + text_height + _GAP_PX
    columns = max(1, min(len(tiles), round(math.sqrt(len(tiles) * _ASPECT * step[1] / step[0]))))
    columns = max(1, columns // len(widths)) * len(widths)
    rows = math.ceil(len(tiles) / columns)
    top = 2 * _MARGIN_PX + _line_px(_TITLE_PX) + len(notes) * _line_px(_OTHER_PX)
    starts = [0, *accumulate(width + _GAP_PX for width in widths * (columns // len(widths)))]
    inner = max(starts[-1] - _GAP_PX, _longest(title, notes))
    sheet = Image.new("RGB", (2 * _MARGIN_PX + inner, top + rows * step[1] + _MARGIN_PX - _GAP_PX), _PAGE)
    page = ImageDraw.Draw(sheet)
    page.text((_MARGIN_PX, _MARGIN_PX), spell(title), _TEXT, font(_TITLE_PX))
    for line, note in enumerate(notes):
        y = _MARGIN_PX + _line_px(_TITLE_PX) + line * _line_px(_OTHER_PX)
        page.text((_MARGIN_PX, y), spell(note), _GRAY, font(_OTHER_PX))
    for index, tile in enumerate(tiles):
        row, column = divmod(index, columns)
        if tile:
            corner = (_MARGIN_PX + starts[column], top + row * step[1])
            _draw_tile(sheet, tile.content, words[index], corner, (widths[column % len(widths)], height))
    return sheet


def _widths(tiles: Sequence[Tile | None], together: int) -> list[int]:
    """Return the width of each place in a group: of its widest picture."""
    widths = [_COLUMN_PX] * together
    for index, tile in enumerate(tiles):
        if tile and isinstance(tile.content, Image.Image):
            widths[index % together] = max(widths[index % together], tile.content.width)
    return widths


def _below(tile: Tile | None, width: int) -> list[str]:
    """Return the lines under a tile, each of which fits."""
    if tile is None:
        return []
    lines = [_cut(spell(text), width, font(_OTHER_PX if line else _FIRST_PX)) for line, text in enumerate(tile.lines)]
    return lines + [line for text in tile.texts for line in _wrap(spell(text), width, _TEXT_LINES)]


def _draw_tile(
    sheet: Image.Image,
    content: Image.Image | str,
    lines: Sequence[str],
    corner: tuple[int, int],
    size: tuple[int, int],
) -> None:
    page = ImageDraw.Draw(sheet)
    x, y = corner
    width, height = size
    failed = isinstance(content, str)
    if isinstance(content, str):
        _draw_words(page, content, corner, size)
    else:
        left, upper = x + (width - content.width) // 2, y + (height - content.height) // 2
        page.rectangle((left - 1, upper - 1, left + content.width, upper + content.height), None, _FRAME)
        sheet.paste(content, (left, upper))
    below = y + height + _LEADING_PX
    for line, text in enumerate(lines):
        size_px = _OTHER_PX if line else _FIRST_PX
        face = font(size_px)
        colour = _FAILED_TEXT if failed else (_GRAY if line else _TEXT)
        page.text((x + (width - face.getlength(text)) // 2, below), text, colour, face)
        below += _line_px(size_px)


def _draw_words(page: ImageDraw.ImageDraw, words: str, corner: tuple[int, int], size: tuple[int, int]) -> None:
    """Fill a picture's place with the explanation why there is none."""
    x, y = corner
    page.rectangle((x, y, x + size[0] - 1, y + size[1] - 1), _FAILED_PAGE, _FAILED_TEXT)
    lines = _wrap(spell(words), size[0] - _GAP_PX, (size[1] - _GAP_PX) // _line_px(_OTHER_PX))
    for line, text in enumerate(lines):
        at = x + _GAP_PX // 2, y + _GAP_PX // 2 + line * _line_px(_OTHER_PX)
        page.text(at, text, _FAILED_TEXT, font(_OTHER_PX))


@lru_cache(maxsize=8)
def font(size_px: int) -> _Font:
    """Return a font of this size, with the letters of most scripts if the system has one."""
    for name in _FONTS:
        with suppress(OSError):
            return ImageFont.truetype(name, size_px)
    return ImageFont.load_default(size_px)


def spell(text: str) -> str:
    """Return a text in characters that the font has, others replaced as far as possible."""
    return "".join(map(_sign, text))


@lru_cache(maxsize=4096)
def _sign(sign: str) -> str:
    if _has(sign):
        return sign
    spelt = _SPELT.get(sign) or unicodedata.normalize("NFKD", sign)[0]
    return spelt if all(map(_has, spelt)) else sign


def _has(sign: str) -> bool:
    """Return whether the font has a character, and does not draw the box for missing ones."""
    return sign.isspace() or _glyph(sign) != _glyph("\uffff")


def _glyph(sign: str) -> bytes:
    drawn = Image.new("L", (2 * _OTHER_PX, 2 * _OTHER_PX))
    ImageDraw.Draw(drawn).text((0, 0), sign, 255, font(_OTHER_PX))
    return drawn.tobytes()


def _line_px(size_px: int) -> int:
    return round(1.25 * size_px)


def _longest(title: str, notes: Sequence[str]) -> int:
    lengths = [font(_TITLE_PX).getlength(spell(title))]
    lengths += [font(_OTHER_PX).getlength(spell(note)) for note in notes]
    return math.ceil(max(lengths))


def _cut(text: str, width: int, font: _Font) -> str:
    """Return as much of a line as fits; the middle is cut, since the ends of paths differ."""
    if font.getlength(text) <= width:
        return text
    for kept in range(len(text) - 1, 0, -1):
        shorter = text[: kept - kept // 2] + _ELLIPSIS + text[len(text) - kept // 2 :]
        if font.getlength(shorter) <= width:
            return shorter
    return _ELLIPSIS


def _wrap(text: str, width: int, most: int) -> list[str]:
    """Return a text in lines that fit, at most so many; the last one says by an ellipsis if more follows."""
    face = font(_OTHER_PX)
    lines: list[str] = []
    rest = text.split()
    while rest and len(lines) < most:
        count = 1
        while count < len(rest) and face.getlength(" ".join(rest[: count + 1])) <= width:
            count += 1
        lines.append(_cut(" ".join(rest[:count]), width, face))
        rest = rest[count:]
    if rest and lines:
        lines[-1] = _cut(lines[-1] + " " + _ELLIPSIS, width, face)
    return lines
