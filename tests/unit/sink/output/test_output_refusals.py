"""Outputs that must not be written or continued: errors name the file, the reason and the next step."""

from pathlib import Path
from typing import Any

import h5py
import pytest
from support.hdf5.outputs import (
    PLAN,
    FaultyDisk,
    output_config,
    write,
)
from support.plans import make_plan
from support.written import check_equal, contents

from penstock.protocol.errors import OutputError
from penstock.protocol.plan import StreamPlan
from penstock.protocol.spec.custom import Custom, Produced
from penstock.protocol.wire import Array
from penstock.sink.output.output import Output
from penstock.sink.output.paths import discard

pytestmark = pytest.mark.usefixtures("tiny_chunks")


@pytest.mark.parametrize("what", ["text", "empty", "hdf5", "folder", "link"])
def test_what_is_not_ours_is_never_touched(what: str, tmp_path: Path) -> None:
    """Not even by --force: it is named, and stays as it is."""
    path = tmp_path / "out.h5"
    match what:
        case "text":
            path.write_text("mine")
        case "empty":
            path.touch()
        case "hdf5":
            with h5py.File(path, "w") as file:
                file["mine"] = 1
        case "folder":
            path.mkdir()
        case _:
            path.symlink_to("nowhere")
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(OutputError, match=r"out.h5: it .*: give another name, or remove it yourself"):
        write(output_config(tmp_path), FaultyDisk())
    with pytest.raises(OutputError, match=r"out.h5: it .*: --force does not touch it"):
        discard(str(path))
    assert before == (path.read_bytes() if path.is_file() else b"")
    assert ["out.h5"] == [entry.name for entry in tmp_path.iterdir()]


def test_another_streams_output_is_refused_in_words(tmp_path: Path) -> None:
    """OutputFinished or begun: both fingerprints are quoted, and what to do."""
    write(output_config(tmp_path), FaultyDisk(), upto=8)
    for complete in (False, True):
        if complete:
            write(output_config(tmp_path), FaultyDisk())
        other = make_plan(items=28, fingerprint="g")
        with pytest.raises(OutputError, match=r"fingerprint f, and this is stream 'train' with g: .*another name"):
            write(output_config(tmp_path), FaultyDisk(), other)
    (tmp_path / "out.h5").unlink()


@pytest.mark.parametrize(("name", "value"), [("epochs", 2), ("compression", "lzf"), ("shard_size", 12)])
def test_an_output_goes_on_with_the_same_options_only(name: str, value: Any, tmp_path: Path) -> None:
    """The one that differs is named, with both values."""
    write(output_config(tmp_path), FaultyDisk(), upto=8)
    shown = "shard_rows" if name == "shard_size" else name
    with pytest.raises(OutputError, match=rf"with {shown} = .*, and {value!r} is asked for: ask for the same"):
        write(output_config(tmp_path, **{name: value}), FaultyDisk())


def test_a_link_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    """Who links an output to a larger disk means that disk: the words name the target."""
    write(output_config(tmp_path, output=str(tmp_path / "elsewhere.h5")), FaultyDisk(), upto=16)
    (tmp_path / "out.h5").symlink_to(tmp_path / "elsewhere.h5")
    with pytest.raises(OutputError, match=r"out\.h5: a symbolic link.*give .*/elsewhere\.h5"):
        write(output_config(tmp_path), FaultyDisk())
    assert (tmp_path / "out.h5").is_symlink()


def test_a_damaged_list_of_paths_says_what_to_do(tmp_path: Path, calm: dict[str, Array]) -> None:
    """Removed, it is made anew, and the output ends as it should."""
    asked = output_config(tmp_path)
    write(asked, FaultyDisk(), upto=16)
    paths = tmp_path / "out.h5.parts" / "paths.h5"
    paths.write_bytes(paths.read_bytes()[:100])
    with pytest.raises(OutputError, match=r"paths\.h5: cannot be read: .*: remove it"):
        write(asked, FaultyDisk())
    paths.unlink()
    write(asked, FaultyDisk())
    check_equal(calm, contents(tmp_path / "out.h5"))


def test_two_writers_of_one_output_are_refused(tmp_path: Path) -> None:
    """The second is told so; the first goes on."""
    first = Output(output_config(tmp_path), PLAN, FaultyDisk(), lambda _: None)
    with pytest.raises(OutputError, match="another process is writing this output"):
        Output(output_config(tmp_path), PLAN, FaultyDisk(), lambda _: None)
    with pytest.raises(OutputError, match="another process is writing this output"):
        discard(str(tmp_path / "out.h5"))
    first.close()
    write(output_config(tmp_path), FaultyDisk())


def test_a_field_that_a_file_has_no_place_for_is_named(tmp_path: Path) -> None:
    """A custom transform may call its field anything; a file may not."""
    produced = {"epoch": Produced(dtype="int32", shape=())}
    custom = PLAN.settings.transform.model_copy(update={"custom": (Custom(name="mine", produces=produced),)})
    settings = PLAN.settings.model_copy(update={"transform": custom})
    plan = StreamPlan(name="train", seed=1, settings=settings, items=28, classes=(), fingerprint="f")
    with pytest.raises(OutputError, match="stream 'train' has a field 'epoch'"):
        write(output_config(tmp_path), FaultyDisk(), plan)


def test_a_damaged_note_of_what_was_begun_is_named(tmp_path: Path) -> None:
    """It says how to begin anew."""
    write(output_config(tmp_path), FaultyDisk(), upto=8)
    (tmp_path / "out.h5.parts" / "recording.json").write_text("{")
    with pytest.raises(OutputError, match=r"recording.json: .*; remove the folder .*out.h5.parts to begin anew"):
        write(output_config(tmp_path), FaultyDisk())


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    """It is not made: it may be a disk that is not mounted."""
    with pytest.raises(OutputError, match=r"there is no folder .*nowhere: make it"):
        write(output_config(tmp_path / "nowhere"), FaultyDisk())
