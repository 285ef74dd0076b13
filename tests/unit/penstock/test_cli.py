"""`penstock <command>`: the table of commands, and what every command has in common."""

import subprocess
import sys
from pathlib import Path

import pytest
from support.pages import table_below

from penstock import cli
from penstock.cli import COMMANDS, Command


def exit_status(arguments: list[str]) -> int | str | None:
    """Return what a shell would see; argparse raises SystemExit where ours returns."""
    try:
        return cli.main(arguments)
    except SystemExit as leave:
        return leave.code


def test_a_command_is_added_by_a_module_and_a_line_of_the_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It runs, has help, refuses what it does not know, and stands in the list of commands."""
    monkeypatch.setitem(COMMANDS, "toy", Command("support.extensions.toy_command", "repeat a word"))

    assert 0 == exit_status(["toy", "hello", "--times", "3"])
    assert "hello hello hello\n" == capsys.readouterr().out

    assert 0 == exit_status(["--help"])
    assert "  toy            repeat a word\n" in capsys.readouterr().out

    assert 0 == exit_status(["toy", "--help"])
    assert "How often to print it." in capsys.readouterr().out

    assert 2 == exit_status(["toy", "hello", "--times", "0"])
    assert "penstock toy: --times '0': Input should be greater than or equal to 1\n" == capsys.readouterr().err


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_refuses_an_unknown_option(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Help goes to standard output with status 0, wrong usage to standard error with status 2."""
    assert 0 == exit_status([name, "--help"])
    assert capsys.readouterr().out.startswith(f"usage: penstock {name} ")
    assert 2 == exit_status([name, "--no-such-option"])
    assert f"penstock {name}" in capsys.readouterr().err


def test_a_command_that_does_not_exist_is_refused_with_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    """The message quotes the word."""
    assert 2 == exit_status(["chekc"])
    told = capsys.readouterr().err
    assert "no command 'chekc'" in told
    assert "  check " in told


def test_each_line_of_the_list_fits_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """`penstock` alone prints it, and says by its status that a command is missing."""
    assert 2 == exit_status([])
    lines = capsys.readouterr().out.splitlines()
    assert [] == [line for line in lines if len(line) > 80]
    rows = {line[2:].split("  ")[0] for line in lines if line.startswith("  ")}
    assert set(COMMANDS) == rows, "a name touches what stands next to it"


def test_the_list_of_commands_imports_none_of_them() -> None:
    """`penstock --help` answers at once: a command's module is imported only when it runs."""
    program = (
        "import sys\n"
        "from penstock.cli import COMMANDS, main\n"
        "main(['--help'])\n"
        "assert sys.modules.keys().isdisjoint({command.module for command in COMMANDS.values()})\n"
        "assert sys.modules.keys().isdisjoint({'numpy', 'pydantic', 'zmq'})\n"
    )
    subprocess.run([sys.executable, "-c", program], stdout=subprocess.DEVNULL, check=True)


def test_contributing_lists_the_files_of_a_command(root: Path) -> None:
    """The section names the table, the reference's source and the new module, and nothing else."""
    files = table_below(root / "CONTRIBUTING.md", "## Add a command")
    assert ["penstock/commands/count.py", "penstock/cli.py", "docs/generate.py"] == files
    assert [False, True, True] == [(root / file).exists() for file in files]
