"""Command lines become settings to the letter, and `--help` speaks of files and numbers, not of Python's types."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from penstock.protocol.errors import SpecError
from penstock.protocol.runtime.settings import Settings, parse, prepare

#: What an argument of a process can be.
_texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)


class Some(Settings):
    """Has a field of each kind."""

    root: dict[str, str] = Field(default_factory=dict)
    """Where roots lie."""
    dashboard_hosts: list[str] = Field(default_factory=list)
    """Names."""
    stream: str | None = None
    """A stream."""
    keys: str = ""
    """A folder."""
    wait_s: float = 1.0
    """A while."""
    workers: int | None = None
    """A number."""
    once: bool = False
    """A switch."""


def read(*arguments: str) -> Some:
    """Return the settings of a command line."""
    return parse(Some, arguments, "some")


@given(st.dictionaries(_texts.filter(lambda name: name and "=" not in name), _texts, max_size=3))
def test_everything_after_the_first_equals_sign_is_the_folder(roots: dict[str, str]) -> None:
    """Commas, quotes, braces, blanks, backslashes and further signs included."""
    assert roots == read(*(f"--root={name}={folder}" for name, folder in roots.items())).root


@given(_texts)
def test_a_text_is_taken_as_it_is(text: str) -> None:
    """Whatever it looks like."""
    settings = read(f"--stream={text}", f"--keys={text}")
    assert (text, text) == (settings.stream, settings.keys)


@pytest.mark.parametrize("text", ["None", "null", "true", "1.5", "[1]", '{"a": 1}', '"quoted"', ""])
def test_a_text_that_looks_like_another_value_is_still_that_text(text: str) -> None:
    """A stream may be called None, and a folder null."""
    settings = read("--stream", text, "--root", f"a={text}")
    assert (text, {"a": text}) == (settings.stream, settings.root)


def test_names_in_a_list_are_parted_by_commas_or_flags() -> None:
    """No host's name has a comma."""
    settings = read("--dashboard-hosts", "a.example,b.example", "--dashboard-hosts=c")
    assert ["a.example", "b.example", "c"] == settings.dashboard_hosts


@pytest.mark.parametrize(
    ("roots", "message"),
    [
        (["photos"], "penstock some: --root 'photos': give NAME=FOLDER, such as photos=/data/photos"),
        (["=/x"], "--root '=/x': give NAME=FOLDER"),
        (["a=/x", "a=/y"], "--root 'a=/y': 'a' was given before, as '/x'; give each name once"),
    ],
)
def test_a_root_that_is_none_is_refused_in_words(roots: list[str], message: str) -> None:
    """The value is quoted, and the form is shown."""
    with pytest.raises(SpecError, match=re.escape(message)):
        read(*(part for root in roots for part in ("--root", root)))


def test_help_names_what_a_value_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Without types of Python, and without defaults that say nothing."""
    with pytest.raises(SystemExit):
        read("--help")
    text = capsys.readouterr().out
    for option in ("--root NAME=FOLDER", "--stream NAME", "--keys FOLDER", "--wait-s SECONDS", "--workers N"):
        assert option in text
    assert "A while. (default: 1.0)" in text
    assert not re.search(r"dict\[|list\[|\bstr\b|\bint\b|\bfloat\b|None|factory|default: \)", text)


def test_a_file_of_settings_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    """Some editors write one."""
    file = tmp_path / "some.toml"
    file.write_text('\ufeffkeys = "folder"\n', encoding="utf-8")
    assert "folder" == read("--config", str(file)).keys


@pytest.mark.parametrize("content", [b"keys = ", b"\xff\xfe"])
def test_a_file_of_settings_that_cannot_be_read_is_refused_in_words(tmp_path: Path, content: bytes) -> None:
    """By its name."""
    file = tmp_path / "some.toml"
    file.write_bytes(content)
    with pytest.raises(SpecError, match=re.escape(f"--config {str(file)!r}: not valid TOML")):
        read("--config", str(file))


def test_flags_go_before_the_environment_and_that_before_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mappings are merged entry by entry."""
    file = tmp_path / "some.toml"
    file.write_text('keys = "file"\nstream = "file"\nroot = {a = "file", b = "file", c = "file"}\n', encoding="utf-8")
    monkeypatch.setenv("PENSTOCK_STREAM", "environment")
    monkeypatch.setenv("PENSTOCK_ROOT", '{"a": "environment", "b": "environment,=x"}')
    found: dict[str, Any] = read("--config", str(file), "--root", "a=flag").model_dump()
    assert ("file", "environment") == (found["keys"], found["stream"])
    assert {"a": "flag", "b": "environment,=x", "c": "file"} == found["root"]


def test_a_parser_that_was_made_ahead_reads_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line and the environment of now, once; the next one is made anew."""
    prepare(Some, "some")
    monkeypatch.setenv("PENSTOCK_STREAM", "later")
    for _ in range(2):
        found = read("--root=photos=/data/photos", "--wait-s=2", "--once")
        assert ("later", {"photos": "/data/photos"}, 2.0, True) == (found.stream, found.root, found.wait_s, found.once)
    prepare(Some, "some")
    with pytest.raises(SpecError, match="penstock some: --wait-s 'x'"):
        read("--wait-s=x")
