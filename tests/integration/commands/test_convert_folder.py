"""`penstock convert` leaves folders alone that are not its own, and says why it refuses one."""

import tomllib
from pathlib import Path

import pytest
from support.images import write_images

from penstock.commands.convert import main

pytestmark = pytest.mark.integration


@pytest.fixture
def spec(tmp_path: Path) -> str:
    """Return a spec of a folder of four images."""
    write_images(tmp_path / "photos", ("cat", "dog"), 2)
    text = f'[roots]\nphotos = "{tmp_path}/photos"\n[streams.train]\ntransform = {{ resize = [8, 8] }}\n'
    file = tmp_path / "spec.toml"
    file.write_text(text + 'source = { kind = "directory", root = "photos" }\n', encoding="utf-8")
    return str(file)


@pytest.mark.parametrize("name", ["thesis.txt", ".git"])
def test_a_folder_of_other_files_stays_as_it_is(
    name: str, spec: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Hidden ones, too; nothing is added to it."""
    (tmp_path / "home" / name).mkdir(parents=True)
    assert 2 == main([spec, "-o", str(tmp_path / "home")])
    assert f"holds other files, such as '{name}': give a new folder" in capsys.readouterr().err
    assert [name] == [each.name for each in (tmp_path / "home").iterdir()]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "not written by penstock convert, it holds []"),
        ("3", "not written by penstock convert, it holds 3"),
        ('"x"', "not written by penstock convert, it holds 'x'"),
        ("{", "damaged"),
        ("{}", "holds shards that were made of other items"),
    ],
)
def test_a_list_of_facts_that_is_none_is_told(
    text: str, words: str, spec: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By its file, instead of a traceback."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out/convert.json").write_text(text, encoding="utf-8")
    assert 2 == main([spec, "-o", str(tmp_path / "out")])
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("letter", ['"', "\\", "\x7f", "\u2028", "\U000e0001", "é"])
def test_the_printed_source_is_toml_whatever_the_folder_is_called(
    letter: str, spec: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also with quotes, backslashes and letters that a terminal does not show."""
    (tmp_path / "photos/cat").rename(tmp_path / f"photos/c{letter}t")
    assert 0 == main([spec, "-o", str(tmp_path / f"sh{letter}rds")])
    text = capsys.readouterr().out
    printed = tomllib.loads(text[text.index("[roots]") :])
    assert str(tmp_path / f"sh{letter}rds") == printed["roots"]["shards"]
    assert [f"c{letter}t", "dog"] == printed["streams"]["train"]["source"]["classes"]


def test_shards_in_the_tree_that_is_converted_are_refused(
    spec: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Their folder would be a class when the command goes on; next to the tree they may lie."""
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    for out in (tmp_path / "photos/shards", tmp_path / "link/cat/shards"):
        assert 2 == main([spec, "-o", str(out)])
        assert f"'{out}' lies in '{tmp_path / 'photos'}', whose folders are" in capsys.readouterr().err
        assert not out.exists()
    assert 0 == main([spec, "-o", str(tmp_path / "photos-in-shards")])
