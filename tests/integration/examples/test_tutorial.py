"""The tutorial and the guide to resuming, run as they stand: their commands print what the pages say they print."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.snippets import blocks_of

pytestmark = pytest.mark.integration
#: Seconds that one command may take.
LIMIT_S = 300
Run = Callable[[str], str]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Return what runs lines of shell in a folder of their own, as in a shell with the environment activated."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"

    def shell(lines: str) -> str:
        command = ["bash", "-euo", "pipefail", "-c", lines]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
        assert 0 == done.returncode, f"{lines}\n{done.stdout}{done.stderr}"
        return done.stdout

    return shell


def begin(root: Path, folder: Path, run: Run) -> Iterator[tuple[str, str]]:
    """Make the images and the spec of the tutorial; return the rest of its blocks: language and text."""
    rest = ((block.language, block.text) for block in blocks_of(root / "docs" / "first_feed.md"))
    language, install = next(rest)
    assert ("sh", True) == (language, "pip install" in install)
    language, images = next(rest)
    assert "sh" == language
    run(images)
    training = [next(rest) for _ in range(3)]
    assert ["python", "sh", "text"] == [language for language, _ in training]
    language, spec = next(rest)
    assert "toml" == language
    (folder / "spec.toml").write_text(spec)
    return rest


#: What `penstock check` measures: its numbers differ from run to run.
MEASURED = re.compile(r"^(once it is kept|a cache gains nothing)[^\n]*\n([^\n]+\n)*", re.MULTILINE)


def plain(text: str) -> list[str]:
    """Return lines without what depends on the terminal's width, or is measured."""
    return [line.rstrip(" ─") for line in MEASURED.sub("", text).splitlines()]


@pytest.mark.slow
def test_the_tutorial_prints_what_it_says(root: Path, tmp_path: Path, run: Run) -> None:
    """Items, schema, fingerprint and order of `penstock check`, and what the program of the third step prints."""
    rest = begin(root, tmp_path, run)
    (_, check), (_, promised) = next(rest), next(rest)
    printed = plain(run(check))
    expected = plain(promised)
    assert expected == printed[: len(expected)]
    (_, preview), (language, program) = next(rest), next(rest)
    assert (True, "python") == (preview.startswith("penstock preview"), language)
    (tmp_path / "feed.py").write_text(program)
    (_, command), (_, promised) = next(rest), next(rest)
    assert plain(promised) == plain(run(command))


@pytest.mark.long
def test_the_tutorial_trains_on_a_folder(root: Path, tmp_path: Path, run: Run) -> None:
    """With a validation stream, after the first step alone; the damaged file is the only one that is missing."""
    blocks = blocks_of(root / "docs" / "first_feed.md")
    run(blocks[1].text)
    (tmp_path / "train.py").write_text(blocks[2].text)
    printed = run(blocks[3].text)
    assert blocks[4].text in printed
    accuracies = [float(found) for found in re.findall(r"val_accuracy: ([0-9.]+)", printed)]
    losses = [float(found) for found in re.findall(r"- loss: ([0-9.]+)", printed)]
    assert 4 == len(accuracies) == len(losses)
    assert losses[-1] < losses[0], "it learns what it is trained on"
    assert max(accuracies) > 0.3, "four classes: chance is a quarter"


@pytest.mark.long
def test_the_guide_to_resuming_prints_what_it_says(root: Path, tmp_path: Path, run: Run) -> None:
    """Two runs of two steps, with other numbers of workers, are one of four."""
    begin(root, tmp_path, run)
    program, session = blocks_of(root / "docs" / "resume.md")[:2]
    assert ("python", "console") == (program.language, session.language)
    (tmp_path / "train.py").write_text(program.text)
    for part in session.text.split("$ ")[1:]:
        command, _, promised = part.partition("\n")
        assert plain(promised) == plain(run(command))
