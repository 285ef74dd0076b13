"""Small pieces of HTML for notebooks: every text is escaped, and colours suit light and dark pages.

Text takes the page's own colour, and lines and bars are translucent, so no theme has to be known.
"""

from collections.abc import Iterable, Sequence
from html import escape

#: Longest text of one cell; names and reasons may be longer.
_LONGEST = 300
_LINE = "1px solid rgba(128,128,128,.35)"


def text(value: object) -> str:
    """Return a value as HTML text, cut where it is very long."""
    words = str(value)
    return escape(words if len(words) <= _LONGEST else f"{words[:_LONGEST]}…")


def box(title: str, state: str, *parts: str) -> str:
    """Return a block with a heading; `parts` are HTML."""
    heading = f"<div><strong>{text(title)}</strong> <span style='opacity:.7'>{text(state)}</span></div>"
    return f"<div style='font-size:.92em;line-height:1.5;padding:.3em 0'>{heading}{''.join(parts)}</div>"


def line(words: object) -> str:
    """Return a line of text."""
    return f"<div>{text(words)}</div>"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; the cells are HTML, the names of the columns text."""
    style = "text-align:left;padding:.15em 1.2em .15em 0;background:transparent"
    head = "".join(f"<th style='{style};font-weight:normal;opacity:.7'>{text(name)}</th>" for name in columns)
    body = "".join(
        f"<tr style='background:transparent;border-top:{_LINE}'>"
        + "".join(f"<td style='{style}'>{cell}</td>" for cell in row)
        + "</tr>"
        for row in rows
    )
    return f"<table style='border-collapse:collapse;margin:.4em 0'><thead><tr>{head}</tr></thead>{body}</table>"


def bar(done: int, total: int) -> str:
    """Return how much is done, as a bar with its numbers."""
    percent = 100 * min(1.0, done / total) if total else 0.0
    return (
        f"<span role='img' aria-label='{percent:.0f} %' style='display:inline-block;vertical-align:middle;width:8em;"
        f"height:.6em;border:{_LINE};border-radius:.3em;overflow:hidden'><span style='display:block;height:100%;"
        f"width:{percent:.1f}%;background:#2a7fb8'></span></span> {done:,} of {total:,}"
    )


def grid(pictures: Iterable[tuple[str, str]]) -> str:
    """Return pictures, each as a data URL with its caption, side by side."""
    shown = "".join(
        f"<figure style='margin:0'><img src='{escape(url)}' alt='{text(caption)}' style='display:block;margin:0'>"
        f"<figcaption style='max-width:10em;overflow-wrap:anywhere'>{text(caption)}</figcaption></figure>"
        for url, caption in pictures
    )
    return f"<div style='display:flex;flex-wrap:wrap;gap:.6em;margin:.4em 0'>{shown}</div>"
