"""The files of the dashboard's page: they ask no other host, and their text is readable."""

import re
from pathlib import Path

import pytest

#: Least contrast of text by WCAG 2.2, level AA.
CONTRAST = 4.5


@pytest.fixture(scope="module")
def assets(root: Path) -> dict[str, str]:
    """Return the page's files."""
    folder = root / "ventilator" / "dashboard" / "assets"
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}


def test_the_page_asks_nobody_else_and_parses_no_html(assets: dict[str, str]) -> None:
    """No address but the name of SVG, no inline script or style, and text is only ever set as text."""
    for name, text in assets.items():
        found = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"']*", text))
        assert found <= {"http://www.w3.org/2000/svg"}, name
        for forbidden in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "@import", "url("):
            assert forbidden not in text, (name, forbidden)
    page = assets["index.html"]
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=", page)


def test_all_text_is_readable_in_light_and_dark(assets: dict[str, str]) -> None:
    """Contrast of at least 4.5 : 1 for every colour of text on every ground that it stands on."""
    colours = dict(re.findall(r"--([\w-]+): light-dark\((#\w{6}, #\w{6})\)", assets["page.css"]))
    for text, ground in [
        *((text, ground) for text in ("ink", "soft", "alarm") for ground in ("page", "raised")),
        ("ink", "tint"),
        ("soft", "tint"),
        ("alarm", "alarm-tint"),
        ("soft", "alarm-tint"),
        ("ink", "alarm-tint"),
    ]:
        for scheme in (0, 1):
            one, other = (_luminance(colours[name].split(", ")[scheme]) for name in (text, ground))
            contrast = (max(one, other) + 0.05) / (min(one, other) + 0.05)
            assert contrast >= CONTRAST, (text, ground, ("light", "dark")[scheme], contrast)


def _luminance(colour: str) -> float:
    levels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [level / 12.92 if level <= 0.04045 else ((level + 0.055) / 1.055) ** 2.4 for level in levels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
