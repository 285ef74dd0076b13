"""`penstock convert` leaves folders alone that are not its own, and says why it refuses one."""

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
