"""What the documentation shows is right: Python compiles, specs are valid, commands parse, what is named is there."""

import ast
import importlib
import inspect
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from support.snippets import Block, blocks, command_lines, pages, penstock_words

from penstock.cli import COMMANDS
from penstock.protocol.runtime.settings import Settings, parse
from penstock.protocol.spec.spec import Spec

ROOT = Path(__file__).resolve().parents[3]
PYTHON, TOML, LINES = blocks(ROOT, "python"), blocks(ROOT, "toml"), command_lines(ROOT)
#: What the parts of specs that pages show are put into.
AROUND: dict[str, Any] = {
    "roots": {"photos": "/photos", "images": "/images", "data": "/data"},
    "streams": {
        "train": {
            "source": {"kind": "directory", "root": "photos", "path": "."},
            "transform": {"resize": {"height": 64, "width": 64}},
        }
    },
}
#: Places of the repository that pages name.
_PLACES = re.compile(r"`((?:tests|examples|benchmarks|deploy|docs|\.ci)/[\w./-]+)`")


def settings_models() -> dict[str, type[Settings]]:
    """Return the model of each command's options, read from the calls `run(Model, serve, "name", …)`."""
    found = {}
    for module in {importlib.import_module(name) for name, _ in COMMANDS.values()}:
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            match node:
                case ast.Call(
                    func=ast.Name(id="run"), args=[ast.Name(id=model), _, ast.Constant(value=str(command)), *_]
                ):
                    found[command] = getattr(module, model)
                case _:
                    pass
    return found


MODELS = settings_models()


def test_there_is_something_to_look_at() -> None:
    """A pattern that finds no block would let everything pass."""
    assert 20 < len(PYTHON)
    assert 10 < len(TOML)
    assert 45 < len(LINES)
    assert set() == set(COMMANDS) - {command.partition(" ")[0] for command in MODELS}


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_python_compiles(block: Block) -> None:
    """A reader who copies a block may paste it."""
    compile(block.text, str(block), "exec")


@pytest.mark.parametrize("block", TOML, ids=str)
def test_a_spec_or_a_part_of_one_is_valid(block: Block) -> None:
    """Each field exists, in its place, with a value that is allowed."""
    shown = tomllib.loads(block.text)
    if "project" in shown:
        return  # of a package, not of a spec
    if not shown.keys() & {"streams", "roots", "seed"}:
        shown = {"streams": {"train": shown}}
    Spec.model_validate(merged(AROUND, shown))


def merged(around: dict[str, Any], shown: dict[str, Any]) -> dict[str, Any]:
    """Return a table with another one laid over it; a source, and a transform with a size, replace what is there."""
    result = dict(around)
    for key, value in shown.items():
        whole = not isinstance(value, dict) or not isinstance(result.get(key), dict)
        sized = (
            bool({"resize", "patch", "views"} & value.keys()) or "targets" in shown
            if isinstance(value, dict)
            else False
        )
        whole |= key == "source" or (key == "transform" and sized)
        result[key] = value if whole else merged(result[key], value)
    return result


@pytest.mark.parametrize(("place", "words"), LINES, ids=[place for place, _ in LINES])
def test_a_command_line_is_one(place: str, words: list[str]) -> None:
    """The command exists, and takes these options with these values; nothing is run."""
    command = next((each for each in (" ".join(words[:2]), words[0]) if each in MODELS), None)
    assert command, f"{place}: no command `penstock {' '.join(words[:2])}`"
    own = words[: words.index("--")] if "--" in words else words  # what follows is another program's
    parse(MODELS[command], own[len(command.split()) :], command)


@pytest.mark.parametrize("page", pages(ROOT), ids=lambda page: page.name)
def test_what_the_text_names_is_there(page: Path) -> None:
    """`penstock <command>` is a command, and `tests/…` a file or folder."""
    text = page.read_text(encoding="utf-8")
    assert [] == [word for word in re.findall(r"`penstock ([a-z]+)", text) if word not in COMMANDS]
    assert [] == [place for place in _PLACES.findall(text) if not (ROOT / place).exists()]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("penstock check spec.toml  # says much", [["check", "spec.toml"]]),
        ("make demo && penstock up 'a b' &", [["up", "a b"]]),
        ("PENSTOCK_TRACE=t penstock sink; penstock worker | cat", [["sink"], ["worker"]]),
        ("echo penstock check", []),
    ],
)
def test_commands_are_found_in_lines_of_shell(line: str, expected: list[list[str]]) -> None:
    """With comments, quotes, several of them, and settings before them."""
    assert expected == list(penstock_words(line))
