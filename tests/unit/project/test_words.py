"""Plain words: phrases that a reader has to read twice are refused in documentation and docstrings."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
#: What is refused: a pattern, and what to write instead.
BANNED = {
    r"\brefuses? to know\b": "say what the module does, and which other module does the rest",
    r"\bknows? nothing (?:of|about)\b": "say what the module does, and which other module does the rest",
    r"\bwho(?:m|so)?ever\b": "name the part: a worker, a trainer, a program",
    r"\b(?:nobody|everybody|somebody|anybody)\b": "name the part: no trainer, all services, a supervisor",
    r"\bfore(?:tells?|told|telling)\b": "predict, or print the upper bound of",
    r"\btakes? in that\b": "handle",
    r"\bbeside\b": "next to, besides, or in addition to",
    r"\b(?:is|are) said of\b": "name the subject",
    r"\bthat is told\b": "that receives",
    r"\b(?:stops?|stopped|refused|ends?|fails?|leaves?) [^.;:]{0,40}\bin words\b": "with an explanation",
    r"\ba folder a class\b": "one subfolder per class",
    r"\b(?:a|the|each|every) (?:process|program|service|worker|sink|trainer|ventilator|peer) who\b": "that",
    r"\bwho (?:reads?|asks?|waits?|writes?|looks?|holds?|sends?|gets?) (?:a|the|it|for|what)\b": "name the part",
}
SOURCES = ("penstock", "protocol", "sink", "trainer", "ventilator", "worker")


def texts(folder: str) -> Iterator[tuple[str, str]]:
    """Yield each docstring, message and comment of a folder's modules: its place and its words."""
    for file in sorted((ROOT / folder).rglob("*.py")):
        source = file.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(source)):
            match node:
                case ast.Constant(value=str(text)):
                    yield f"{file.relative_to(ROOT)}:{node.lineno}", text
                case _:
                    pass
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                yield f"{file.relative_to(ROOT)}:{token.start[0]}", token.string


def pages() -> Iterator[tuple[str, str]]:
    """Yield the pages that people read, without code blocks."""
    files = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    files += [*(ROOT / "docs").glob("*.md"), *(ROOT / "examples").rglob("*.md")]
    for file in files:
        text = file.read_text(encoding="utf-8")
        yield str(file.relative_to(ROOT)), re.sub(r"^```.*?^```|`[^`]*`", "", text, flags=re.MULTILINE | re.DOTALL)


def found(place: str, text: str) -> Iterator[str]:
    """Yield what is wrong with a text, and what to write instead."""
    words = " ".join(text.split())
    for pattern, instead in BANNED.items():
        for match in re.finditer(pattern, words, re.IGNORECASE):
            yield f"{place}: {words[max(0, match.start() - 30) : match.end() + 30]!r}: {instead}"


def test_pages_use_plain_words() -> None:
    """README, guides, examples and the changelog hold none of the refused phrases."""
    there = list(pages())
    assert len(there) > 25
    assert [] == [each for place, text in there for each in found(place, text)]


def test_sources_use_plain_words() -> None:
    """Docstrings, messages and comments hold none of the refused phrases."""
    there = [(place, text) for folder in SOURCES for place, text in texts(folder)]
    assert len(there) > 10_000
    assert [] == [each for place, text in there for each in found(place, text)]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("Refuses to know sockets.", 1),
        ("Whoever reads a page, and nobody else.", 2),
        ("The worker who holds a task waits for whom?", 2),
        ("People who train models; a user who trains; the sink that holds a lease.", 0),
    ],
)
def test_the_patterns_find_what_they_should(text: str, count: int) -> None:
    """Programs are no persons; persons are."""
    assert count == len(list(found("here", text)))
