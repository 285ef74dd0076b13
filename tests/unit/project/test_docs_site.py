"""The look at the built documentation: what is wrong with a site is named, and nothing else is."""

import runpy
import tomllib
from pathlib import Path
from typing import Any

import pytest

GOOD = {
    "index.html": '<link rel="stylesheet" href="a.css"><a href="more.html#part">more</a><img src="x.png">',
    "more.html": '<h2 id="part">Part</h2><a href="https://elsewhere.example/">elsewhere</a><a href="#part">up</a>',
    "404.html": '<a href="/index.html">home</a><script src="/a.js"></script>',
    "a.css": "body { background: url(x.png) }",
    "a.js": "",
    "x.png": "",
}
LISTED = {"index.html", "more.html"}


@pytest.fixture(scope="module")
def look() -> dict[str, Any]:
    """Return what the script of `make docs` defines."""
    return runpy.run_path(str(Path(__file__).parents[3] / ".ci" / "check_site.py"))


def found(look: dict[str, Any], folder: Path, changes: dict[str, str], listed: set[str]) -> list[str]:
    """Return what is said of the good site with some files changed."""
    for name, text in (GOOD | changes).items():
        (folder / name).write_text(text)
    return list(look["problems"](folder, listed))


def test_a_good_site_passes(look: dict[str, Any], tmp_path: Path) -> None:
    """Links to other sites wait for a click, so they are no requests."""
    assert [] == found(look, tmp_path, {}, LISTED)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("index.html", '<a href="gone.html">', "index.html: gone.html: there is no such file"),
        ("index.html", '<a href="more.html#gone">', "index.html: more.html#gone: more.html has no such anchor"),
        ("index.html", '<a href="#gone">', "index.html: #gone: index.html has no such anchor"),
        ("index.html", '<a href="../README.md">', "index.html: ../README.md: there is no such file"),
        ("index.html", '<img src="gone.png">', "index.html: gone.png: there is no such file"),
        ("404.html", '<a href="more.html#gone">', "404.html: more.html#gone: more.html has no such anchor"),
        ("index.html", '<img src="//cdn.example/x.png">', "a browser would ask another host for //cdn.example/x.png"),
        ("index.html", '<img srcset="x.png 1x, https://cdn.example/y 2x">', "host for https://cdn.example/y"),
        ("index.html", '<link href="https://fonts.example/f">', "host for https://fonts.example/f"),
        ("index.html", '<style>@import "https://a.example/b";</style>', "host for https://a.example/b"),
        ("index.html", '<p style="background: url(https://a.example/c)">', "host for https://a.example/c"),
        ("a.css", "p { background: url('https://a.example/d') }", "a.css: a browser would ask another host"),
        ("other.html", "", "other.html: no navigation leads to this page"),
    ],
)
def test_what_is_wrong_is_named(look: dict[str, Any], tmp_path: Path, name: str, text: str, said: str) -> None:
    """One thing is wrong, and one sentence says where and what."""
    (sentence,) = found(look, tmp_path, {name: text}, LISTED)
    assert said in sentence


def test_a_page_that_was_not_built_is_named(look: dict[str, Any], tmp_path: Path) -> None:
    """The navigation promises it."""
    expected = ["late.html: the navigation names it, and it was not built"]
    assert expected == found(look, tmp_path, {}, LISTED | {"late.html"})


def test_every_page_of_the_docs_is_in_the_navigation_once(look: dict[str, Any], root: Path) -> None:
    """As `make docs` would say, without building."""
    nav = tomllib.loads((root / "zensical.toml").read_text(encoding="utf-8"))["project"]["nav"]
    there = sorted(file.relative_to(root / "docs").as_posix() for file in (root / "docs").rglob("*.md"))
    assert there == sorted(page.removesuffix(".html") + ".md" for page in look["listed_pages"](nav))
