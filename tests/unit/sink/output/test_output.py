"""An output's whole life: its name, compression, readers, end and removal."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.hdf5.outputs import (
    LOST,
    ONE_AND_MANY,
    PLAN,
    SHARDED,
    FaultyDisk,
    output_config,
    write,
)
from support.written import attributes, check_beginning, check_equal, contents, opened

from penstock.commands.inspect import main as inspect
from penstock.protocol.wire import Array
from penstock.sink.core.writer_jobs import Commit
from penstock.sink.output.output import Output
from penstock.sink.output.paths import discard
from penstock.trainer import Hdf5Feed

pytestmark = pytest.mark.usefixtures("tiny_chunks")


@pytest.mark.parametrize("compression", ["lzf", "gzip", "gzip:9", "zstd", "zstd:7", "blosc2", "blosc2:1"])
def test_every_compression_reads_back(compression: str, calm: dict[str, Array], tmp_path: Path) -> None:
    """Chunks are copied compressed as they are."""
    write(output_config(tmp_path, compression=compression), FaultyDisk(), upto=16)
    check_beginning(calm, tmp_path / "out.h5")
    write(output_config(tmp_path, compression=compression), FaultyDisk())
    check_equal(calm, contents(tmp_path / "out.h5"))
    with opened(tmp_path / "out.h5") as file:
        assert file["image"].id.get_create_plist().get_nfilters()


def test_a_finished_output_stays_as_it_is(tmp_path: Path) -> None:
    """The same command again has nothing to do; --force removes it, and only what is ours."""
    write(output_config(tmp_path, **SHARDED), FaultyDisk())
    path = tmp_path / "out.h5"
    before = path.read_bytes()
    again = Output(output_config(tmp_path, **SHARDED), PLAN, FaultyDisk(), lambda _: None)
    assert (27, True, 1) == (again.rows, again.finished, len(again.opened().lost))
    again.close()
    assert before == path.read_bytes()
    (tmp_path / "out-00077.h5").write_text("mine")
    discard(str(path))
    assert ["out-00077.h5"] == [entry.name for entry in tmp_path.iterdir()]


def test_who_reads_an_unfinished_output_never_reads_zeros(calm: dict[str, Array], tmp_path: Path) -> None:
    """Pieces that an open view refers to stay until it is closed: HDF5 would show zeros for them, without a word."""
    asked = output_config(tmp_path, **SHARDED)
    write(asked, FaultyDisk(), upto=8)
    with opened(tmp_path / "out.h5") as early:
        write(asked, FaultyDisk(), upto=24)
        np.testing.assert_array_equal(calm["image"][:8], early["image"][:])
        with opened(tmp_path / "out.h5") as late:
            output = write(asked, FaultyDisk())
            assert (True, True) == (output.finished, output.left_over)
            np.testing.assert_array_equal(calm["image"][: len(late["image"])], late["image"][:])
        assert (tmp_path / "out.h5.parts").exists()
    write(asked, FaultyDisk())
    assert not (tmp_path / "out.h5.parts").exists()


def test_many_classes_and_a_long_spec_fit_their_attributes(tmp_path: Path) -> None:
    """More than HDF5's old limit of 64 KB."""
    names = tuple(f"class number {number}" for number in range(22_000))
    plan = PLAN.model_copy(update={"classes": names})
    write(output_config(tmp_path), FaultyDisk(), plan)
    found = attributes(tmp_path / "out.h5")
    assert names == tuple(found["classes"])
    assert list(names) == json.loads(found["spec"])["classes"]


@pytest.mark.parametrize("name", ["50%.h5", "100%bad.h5", "a%%b.h5", "out[1].h5", "fotos é 図.h5", "noext"])
@ONE_AND_MANY
def test_an_output_may_have_any_name(
    changes: dict[str, Any], name: str, calm: dict[str, Array], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What HDF5 takes for a number to fill in, or the shell for a pattern, included: begun, gone on with, removed."""
    folder = tmp_path / "named"
    folder.mkdir()
    asked = output_config(folder, output=str(folder / name), **changes)
    for upto in (8, 20):
        committed = write(asked, FaultyDisk(), upto=upto).rows
        assert (upto, upto) == (committed, check_beginning(calm, folder / name))
    write(asked, FaultyDisk())
    check_equal(calm, contents(folder / name))
    with Hdf5Feed(folder / name, shuffle=False, batch_size=32) as feed:
        np.testing.assert_array_equal(calm["image"], next(iter(feed))["image"])
    assert 0 == inspect([str(folder / name), "--json"])
    assert 27 == json.loads(capsys.readouterr().out)["samples"]
    discard(str(folder / name))
    assert [] == list(folder.iterdir())


def test_what_is_removed_by_force_is_never_a_view_of_zeros(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The view goes before the pieces that it shows; the lock, which keeps others out, goes last."""
    write(output_config(tmp_path), FaultyDisk(), upto=16)
    removed: list[str] = []
    unlink = Path.unlink

    def note(path: Path, missing_ok: bool = False) -> None:  # noqa: FBT001, FBT002 - as the library has it
        removed.append(path.name)
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", note)
    discard(str(tmp_path / "out.h5"))
    assert ("out.h5", "lock", 8) == (removed[0], removed[-1], len(removed))


@ONE_AND_MANY
def test_a_stream_of_which_nothing_survives_is_a_file(changes: dict[str, Any], tmp_path: Path) -> None:
    """All data sets are there, without a row."""
    output = Output(output_config(tmp_path, **changes), PLAN, FaultyDisk(), lambda _: None)
    output.names.append(0, PLAN.items, [f"{item}.jpg" for item in range(PLAN.items)])
    output.commit(Commit(PLAN.items, [LOST], last=True))
    output.close()
    found = contents(tmp_path / "out.h5")
    assert [0] * 5 == [len(found[name]) for name in ("image", "label", "item", "patch", "epoch")]
    assert (28, [13]) == (len(found["paths"]), found["quarantine/item"].tolist())
    assert attributes(tmp_path / "out.h5")["complete"]
    assert Output(output_config(tmp_path, **changes), PLAN, FaultyDisk(), lambda _: None).finished
