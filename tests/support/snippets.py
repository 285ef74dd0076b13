"""The documentation's code blocks. Owns how a block and a command line are found; refuses to know what is right."""

import re
import shlex
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FENCED = re.compile(r"^(?P<indent> *)```(?P<language>\w+)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
#: Blocks by indentation.
_INDENTED = re.compile(r"(?<=\n\n)(?: {4}[^\n]*\n)+(?=\n)")
#: Languages that may hold command lines; in `console`, those behind a `$`.
_SHELL = ("sh", "console")


@dataclass(frozen=True)
class Block:
    """A code block, as in ```python."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        """Say where it stands, for the name of a test."""
        return f"{self.page}:{self.line}"


def pages(root: Path) -> list[Path]:
    """Return every page that people read."""
    return sorted([*(root / "docs").glob("*.md"), *(root / "examples").rglob("*.md"), root / "README.md"])


def blocks(root: Path, *languages: str) -> list[Block]:
    """Return the blocks of all pages in some languages."""
    return [block for page in pages(root) for block in blocks_of(page) if block.language in languages]


def blocks_of(page: Path) -> list[Block]:
    """Return the blocks of one page in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(page.name, text.count("\n", 0, found.start()) + 2, found["language"], textwrap.dedent(found["text"]))
        for found in _FENCED.finditer(text)
    ]


def command_lines(root: Path) -> list[tuple[str, list[str]]]:
    """Return every `penstock …` of shell blocks and of indented ones: where it stands, and its words."""
    return [(f"{page.name}:{line}", words) for page in pages(root) for line, words in _commands(page)]


def _commands(page: Path) -> Iterator[tuple[int, list[str]]]:
    text = page.read_text(encoding="utf-8")
    shown = [(block.line, block.text) for block in blocks_of(page) if block.language in _SHELL]
    shown += [(text.count("\n", 0, found.start()) + 1, found[0]) for found in _INDENTED.finditer(text)]
    for start, lines in shown:
        for at, line in enumerate(lines.replace("\\\n", " ").splitlines(), start):
            if "penstock " in line:
                yield from ((at, words) for words in penstock_words(line.strip().removeprefix("$ ")))


def penstock_words(line: str) -> Iterator[list[str]]:
    """Yield the words behind `penstock` of each command in a line of shell."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|<>")
    lexer.commenters, lexer.whitespace_split = "#", True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if not set(word) <= set(";&|<>"):
            words.append(word)
            continue
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            del words[0]
        if words[:1] == ["penstock"]:
            yield words[1:]
        words = []
