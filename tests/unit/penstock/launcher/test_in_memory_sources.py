"""Data frames that a spec gives in place of a manifest: what is wrong with one is said before anything starts."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from penstock.launcher.in_memory_sources import Given
from penstock.protocol.errors import SpecError


def write(folder: Path, frame: Any, **source: Any) -> str:
    """Write the manifest of a frame; return its text."""
    given = Given()
    stream = {"source": {"kind": "manifest", "root": "photos", "frame": frame, **source}}
    given.extract({"streams": {"train": stream}})
    given.write(folder, {"photos": "/photos"})
    return (folder / "train.csv").read_text(encoding="utf-8")


def test_a_frame_becomes_a_manifest(tmp_path: Path) -> None:
    """Only the two columns are written: another one may stand there twice."""
    frame = pd.DataFrame([["a.jpg", 1, "x", "y"], ["b.jpg", 0, "x", "y"]], columns=["path", "label", "note", "note"])
    assert "path,label\na.jpg,1\nb.jpg,0\n" == write(tmp_path, frame)


@pytest.mark.parametrize(
    ("columns", "named", "words"),
    [
        (["path", "label", "label"], {}, "train: the frame has more than one column 'label'; its columns: 'path', "),
        (["path", "path", "label"], {}, "train: the frame has more than one column 'path'"),
        (["file", "file", "label"], {"path_column": "file"}, "more than one column 'file'"),
        (["file", "kind", "label"], {}, "train: the frame has no column 'path'; its columns: 'file', 'kind', 'label'"),
    ],
)
def test_a_column_that_is_missing_or_there_twice_is_refused(
    tmp_path: Path, columns: list[str], named: dict[str, str], words: str
) -> None:
    """A frame would give all columns of a name at once, which are no paths."""
    frame = pd.DataFrame([["a.jpg", "b.jpg", "cat"]], columns=columns)
    with pytest.raises(SpecError, match=words):
        write(tmp_path, frame, **named)


@pytest.mark.parametrize("frame", [[["a.jpg", "cat"]], "frame.csv", None])
def test_what_is_no_frame_is_refused(tmp_path: Path, frame: Any) -> None:
    """The value is quoted."""
    with pytest.raises(SpecError, match=r"train: frame = .*: give a data frame"):
        write(tmp_path, frame)


def test_columns_that_choose_or_weigh_rows_are_kept(tmp_path: Path) -> None:
    """Those that `where` and `weight_column` name, once each; a value that is missing is empty."""
    frame = pd.DataFrame({"path": ["a", "b"], "label": [1, 0], "w": [1.5, None], "n": ["x", "y"], "other": [0, 0]})
    where = [{"column": "n", "op": "==", "value": "x"}, {"column": "label", "op": "==", "value": 1}]
    expected = "path,label,n,w\na,1,x,1.5\nb,0,y,\n"
    assert expected == write(tmp_path, frame, where=where, weight_column="w")
