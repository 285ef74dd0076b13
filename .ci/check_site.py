"""Builds the documentation site and looks at what came out. Owns build/site; zensical.toml says what is in it.

The builder's own strictness ends the build at a link or anchor in the text that leads nowhere. Here is what it does not
look at: images, the links of the theme and of docstrings, pages that no navigation leads to, and whatever a browser
would ask another host for. Refuses to know what pages say.
"""

import os
import re
import runpy
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "build" / "site"
#: Seconds that the build may take.
BUILD_LIMIT_S = 300
#: Attributes that a browser fetches at once, by element (None: of any); `href` of <a> waits for a click.
FETCHED = {(None, "src"), (None, "srcset"), (None, "poster"), ("link", "href"), ("object", "data"), ("use", "href")}
#: A host in a style sheet's url() or @import.
_IN_STYLE = re.compile(r"""(?:url\(\s*|@import\s+)["']?((?:https?:)?//[^"')\s]+)""")
#: The site's root while links are resolved: a host that no name server knows (RFC 6761).
_HOME = "http://site.invalid/"


class Page(HTMLParser):
    """What one page links to, fetches and can be linked at."""

    def __init__(self, text: str) -> None:
        """Read a page's HTML."""
        super().__init__()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.anchors = {"", "top"}
        self._style = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element's addresses and its name."""
        self._style = tag == "style"
        for name, value in attrs:
            if value is None:
                continue
            if name == "id" or (tag == "a" and name == "name"):
                self.anchors.add(value)
            elif (tag, name) in FETCHED or (None, name) in FETCHED:
                self.fetched += [part.split()[0] for part in value.split(",")] if name == "srcset" else [value]
            elif tag == "a" and name == "href":
                self.links.append(value)
            elif name == "style":
                self.fetched += _IN_STYLE.findall(value)

    def handle_data(self, data: str) -> None:
        """Note what a style sheet in the page fetches."""
        if self._style:
            self.fetched += _IN_STYLE.findall(data)


def problems(site: Path, listed: set[str]) -> Iterator[str]:
    """Yield what is wrong with a built site, in words; `listed` are the pages that the navigation names."""
    pages = {file.relative_to(site).as_posix(): Page(file.read_text(encoding="utf-8")) for file in site.rglob("*.html")}
    for name, page in sorted(pages.items()):
        if name not in listed | {"404.html"}:
            yield f"{name}: no navigation leads to this page: name it under nav in zensical.toml"
        for address in sorted(set(page.fetched)):
            if urlsplit(address).netloc:
                yield f"{name}: a browser would ask another host for {address}"
        for address in sorted({*page.links, *page.fetched}):
            if why := _unresolved(site, pages, name, address):
                yield f"{name}: {address}: {why}"
    for style in sorted(site.rglob("*.css")):
        for address in _IN_STYLE.findall(style.read_text(encoding="utf-8")):
            yield f"{style.relative_to(site)}: a browser would ask another host for {address}"
    for name in sorted(listed - set(pages)):
        yield f"{name}: the navigation names it, and it was not built"


def _unresolved(site: Path, pages: dict[str, Page], name: str, address: str) -> str:
    """Return why a link leads nowhere within the site; empty: it does, or it leads elsewhere."""
    # The page for what is not found may be shown at any address, so its links start at the root.
    target = urlsplit(urljoin(_HOME + ("" if name == "404.html" else name), address))
    if f"{target.scheme}://{target.netloc}/" != _HOME:
        return ""
    path = unquote(target.path).lstrip("/") or "index.html"
    if not (site / path).is_file():
        return "there is no such file"
    known = pages[path].anchors if path in pages else {""}
    return "" if unquote(target.fragment) in known else f"{path} has no such anchor"


def listed_pages(nav: object) -> Iterator[str]:
    """Yield the pages of a navigation as they are built."""
    if isinstance(nav, str):
        yield nav.removesuffix(".md") + ".html"
    elif isinstance(nav, list | dict):
        for each in nav.values() if isinstance(nav, dict) else nav:
            yield from listed_pages(each)


def build() -> int:
    """Build the site; return the builder's exit status, with its words shown if it is not 0."""
    types = runpy.run_path(str(ROOT / ".ci" / "check_types.py"))
    types["make_links"](types["part_folders"]())  # docstrings are read below build/ns
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict"]
    result = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=BUILD_LIMIT_S, check=False
    )
    if result.returncode:
        print(re.sub(r"\x1b\[[\d;]*m", "", result.stdout).partition("Traceback (most recent call last)")[0], end="")
    return result.returncode


def main() -> int:
    """Build the site and look at it; return the exit status."""
    os.chdir(ROOT)
    if status := build():
        print("docs: not built")
        return status
    settings = tomllib.loads(Path("zensical.toml").read_text(encoding="utf-8"))
    listed = set(listed_pages(settings["project"]["nav"]))
    found = list(problems(SITE, listed))
    for each in found:
        print(f"docs: {each}")
    print(f"docs: {len(listed)} pages in {SITE.relative_to(ROOT)}, {len(found)} problems")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
