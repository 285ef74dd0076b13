"""What commands print is the text that they were given: no markup, no emoji, no control characters."""

import io

import pytest
from rich.progress import Progress
from rich.table import Table

from penstock.terminal.console import PlainColumn, PlainConsole
from penstock.terminal.spinner import waiting

NAMES = ["photo [copy].jpg", "x].jpg", "[/]", "[bold]", ":smile:", "[link=file:///etc]a[/link]", "\\[x]"]


@pytest.mark.parametrize("name", NAMES)
def test_names_stand_in_tables_and_lines_as_they_are(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Also as a title of a rule or a table, and as a column's head."""
    console = PlainConsole()
    table = Table(name, title=name)
    table.add_row(name)
    console.print(name)
    console.rule(name)
    console.print(table)
    assert 5 == capsys.readouterr().out.count(name)


def test_control_characters_are_spelt_out(capsys: pytest.CaptureFixture[str]) -> None:
    """Lines of ours stay."""
    PlainConsole().print("a\x1b[31mb\x9b2J\nc")
    assert "a\\x1b[31mb\\x9b2J\nc\n" == capsys.readouterr().out


@pytest.mark.parametrize("name", [*NAMES, "\x1b[31m"])
def test_progress_shows_names_as_they_are(name: str) -> None:
    """In the description and in every other field."""
    console = PlainConsole()
    console.file = io.StringIO()
    with Progress(PlainColumn("{task.description} {task.fields[told]}"), console=console) as progress:
        progress.add_task(name, told=name)
    shown = name.replace("\x1b", "\\x1b")
    assert f"{shown} {shown}" in console.file.getvalue()


@pytest.mark.parametrize("name", [*NAMES, "\x1b[31m"])
def test_a_spinner_takes_any_text(name: str) -> None:
    """While it is made, and when the text changes; nothing is parsed."""
    with waiting(name) as tell:
        tell(f"listing {name}")
    with PlainConsole().waiting(name):
        pass
