"""`penstock trace` refuses folders, files and settings that are none, in words."""

from pathlib import Path

import pytest

from penstock.protocol.errors import SpecError
from penstock.protocol.transport.tracer import Tracer
from penstock.trace.command import main


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", "", "no *.jsonl files of a trace; give the folder that --trace"),
        ("a.jsonl", "", "no *.jsonl files of a trace"),
        ("a.jsonl", '{"what": "got", "at": 1.0}\n', "not a trace of a Penstock process"),
        ("a.jsonl", "[]\n", "line 1: not a row of a trace"),
        ("a.jsonl", '{"what": "got", "at": NaN}\n', "line 1: not a row of a trace"),
        ("a.jsonl", '{"what": "got"}\n', "line 1: not a row of a trace"),
    ],
)
def test_what_is_no_trace_is_an_error_in_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: str, words: str
) -> None:
    """It names the file, and nothing is written."""
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert 2 == main([str(tmp_path), "-o", str(tmp_path / "trace.json")])
    assert words in capsys.readouterr().err
    assert not (tmp_path / "trace.json").exists()


def test_bad_settings_are_errors_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that cannot be made, and a number that is none."""
    (tmp_path / "file").touch()
    with pytest.raises(SpecError, match="--trace"):
        Tracer(tmp_path / "file", "worker")
    monkeypatch.setenv("PENSTOCK_TRACE", str(tmp_path))
    monkeypatch.setenv("PENSTOCK_TRACE_EVERY", "often")
    with pytest.raises(SpecError, match="PENSTOCK_TRACE_EVERY='often'"):
        Tracer.from_environment("trainer")
