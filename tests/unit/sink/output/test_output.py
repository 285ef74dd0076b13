"""The output and its parts: killed at any system call, on a full disk, beside other files, read by HDF5's tools."""

import errno
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import h5py
import numpy as np
import pytest
from support.plans import make_plan, make_samples
from support.written import attributes, check_beginning, check_equal, contents, opened

from penstock.commands.inspect import main as inspect
from penstock.protocol.errors import OutputError
from penstock.protocol.messages import Failure
from penstock.protocol.plan import StreamPlan
from penstock.protocol.spec.custom import Custom, Produced
from penstock.protocol.wire import Array
from penstock.sink.core.store import Slice
from penstock.sink.core.writer_jobs import Commit, Lost, RowsJob
from penstock.sink.output.durable_files import Disk
from penstock.sink.output.layout import OutputConfig
from penstock.sink.output.output import Output
from penstock.sink.output.paths import discard
from penstock.trainer import Hdf5Feed

Value = TypeVar("Value")
PLAN = make_plan(items=28)
#: Samples of one commit; chunks of images hold four.
EACH = 4


class Killed(OutputError):  # noqa: N818 - it is no fault
    """The process has ended here: nothing that it does from now on reaches the disk."""


class FaultyDisk(Disk):
    """A disk at whose `at`-th system call something happens."""

    def __init__(self, at: int | None = None, *, full: int = 0, wait_s: float = 0.0) -> None:
        """Die there; or, if `full`, have no space for so many attempts."""
        self.told: list[str] = []
        super().__init__(wait_s, self.told.append)
        self.calls, self._at, self._full, self._mode = 0, at, full, "full" if full else "kill"

    def patiently(self, action: Callable[[], Value], path: Path) -> Value:
        """Count; let it happen."""
        self.calls += 1
        if self._at is None or self.calls < self._at or (self.calls > self._at and self._mode == "full"):
            return super().patiently(action, path)
        if self._mode == "kill":
            raise Killed(f"call {self._at}")

        def attempt() -> Value:
            if self._full:
                self._full -= 1
                raise OSError(errno.ENOSPC, "No space left on device")
            return action()

        return super().patiently(attempt, path)


@pytest.fixture(autouse=True)
def tiny_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let four samples of these tests make a chunk; let no wait last."""
    monkeypatch.setattr("penstock.sink.output.layout._LARGE_BYTES", 4)
    monkeypatch.setattr("penstock.sink.output.layout._CHUNK_BYTES", 16)
    monkeypatch.setattr("penstock.sink.output.durable_files._AGAIN_S", 0.001)
    monkeypatch.setattr("penstock.sink.output.durable_files._LOCK_S", 0.05)
    monkeypatch.setattr("penstock.sink.output.open_readers._GRACE_S", 0.0)
    monkeypatch.setattr("penstock.sink.output.output._READERS_S", 0.05)


def output_config(folder: Path, **changes: Any) -> OutputConfig:
    """Return what is asked for."""
    return replace(OutputConfig(str(folder / "out.h5"), "train", 1, "none", None), **changes)


def arrays(plan: StreamPlan) -> list[Array]:
    """Return the fields of the stream's samples, but for one item that fails."""
    items = [item for item in range(plan.items) if item != 13]
    return make_samples(plan, 0, items, [0] * len(items))


LOST = Lost(13, 0, Failure(offset=1, item=13, path="13.jpg", reason="cannot be decoded"))


def write(asked: OutputConfig, disk: Disk, plan: StreamPlan = PLAN, upto: int | None = None) -> Output:
    """Write a stream as its recorder would, from where it stands; return the output, closed.

    `upto`: stop before the last commit, once that many samples are committed.
    """
    output = Output(asked, plan, disk, lambda _: None)
    try:
        opened = output.opened()
        if opened.finished:
            return output
        if not opened.listed:
            for start in range(0, plan.items, 15):
                stop = min(start + 15, plan.items)
                output.names.append(start, plan.items, [f"{item}.jpg" for item in range(start, stop)])
        fields, total = arrays(plan), plan.items - 1
        for row in range(opened.rows, total, EACH):
            if upto is not None and row >= upto:
                output.close()
                return output
            stop = min(row + EACH, total)
            output.append(RowsJob(slices(fields, row, stop), stop - row, [(0, stop - row)]))
            position = stop + (stop > 13)
            output.commit(Commit(position, [LOST] if row <= 13 < stop else []))
        output.commit(Commit(plan.items, [], last=True))
    except Killed:
        output._lock.release()  # as the kernel would
        raise
    except OutputError:
        output.close()
        raise
    output.close()
    return output


def slices(fields: Sequence[Array], low: int, high: int) -> list[Slice]:
    """Return samples in two slices: a run, and listed rows."""
    middle = (low + high) // 2
    return [Slice(fields, range(low, middle)), Slice(fields, np.arange(middle, high))]


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """Return a folder in memory, where there is one: disks take their time to sync."""
    if not os.access("/dev/shm", os.W_OK):  # noqa: S108 - not to be guessed
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


@pytest.fixture
def calm(tmp_path: Path) -> dict[str, Array]:
    """Return what an undisturbed run writes."""
    folder = tmp_path / "calm"
    folder.mkdir()
    write(output_config(folder), FaultyDisk())
    found = contents(folder / "out.h5")
    for name, array in zip(("image", "label", "item", "patch"), arrays(PLAN), strict=True):
        np.testing.assert_array_equal(array, found[name])
    assert [f"{item}.jpg".encode() for item in range(PLAN.items)] == found["paths"].tolist()
    assert ([13], [b"13.jpg"]) == (found["quarantine/item"].tolist(), found["quarantine/path"].tolist())
    assert ["out.h5"] == [path.name for path in folder.iterdir()]
    return found


SHARDED = {"shard_size": 10}  # rounded up to 12: three chunks


def calls(folder: Path, **changes: Any) -> int:
    """Return how many system calls an undisturbed run makes."""
    folder.mkdir()
    disk = FaultyDisk()
    write(output_config(folder, **changes), disk)
    shutil.rmtree(folder)
    return disk.calls


ONE_AND_MANY = pytest.mark.parametrize("changes", [{}, SHARDED], ids=["whole", "shards"])
#: A few of the calls to the system, and, with more time, more of them.
SOME_AND_MORE = pytest.mark.parametrize("most", [8, pytest.param(40, marks=pytest.mark.long)], ids=["some", "more"])


@ONE_AND_MANY
@SOME_AND_MORE
def test_a_kill_at_any_system_call_loses_nothing_committed(
    changes: dict[str, Any], most: int, calm: dict[str, Array], tmp_path: Path
) -> None:
    """Before each call to the system in turn: the output reads as far as it is, and the next run ends with the same."""
    count = calls(tmp_path / "count", **changes)
    assert 60 < count
    for at in range(1, count + 1, max(1, count // most)):
        folder = tmp_path / f"{at}"
        folder.mkdir()
        asked = output_config(folder, **changes)
        with pytest.raises(Killed):
            write(asked, FaultyDisk(at))
        if (folder / "out.h5").exists():
            check_beginning(calm, folder / "out.h5")
        write(asked, FaultyDisk())
        check_equal(calm, contents(folder / "out.h5"))
        assert attributes(folder / "out.h5")["complete"]
        assert not (folder / "out.h5.parts").exists()
        sizes = [len(contents(path)["item"]) for path in sorted(folder.glob("out-*.h5"))]
        assert ([12, 12, 3] if changes else []) == sizes
        shutil.rmtree(folder)


@ONE_AND_MANY
@SOME_AND_MORE
def test_a_disk_full_at_any_system_call_harms_nothing(
    changes: dict[str, Any], most: int, calm: dict[str, Array], tmp_path: Path
) -> None:
    """It ends in words that name the file and what to do; the next run ends with the same."""
    count = calls(tmp_path / "count", **changes)
    for at in range(1, count + 1, max(1, count // most)):
        folder = tmp_path / f"{at}"
        folder.mkdir()
        asked = output_config(folder, **changes)
        with pytest.raises(OutputError, match=r": No space left on device: free some space there, then .* again"):
            write(asked, FaultyDisk(at, full=1))
        if (folder / "out.h5").exists():
            check_beginning(calm, folder / "out.h5")
        write(asked, FaultyDisk())
        check_equal(calm, contents(folder / "out.h5"))
        shutil.rmtree(folder)


def test_a_kill_between_a_shards_last_piece_and_the_shard_leaves_no_larger_one(tmp_path: Path) -> None:
    """Whoever goes on makes the shard first: later pieces belong to the next."""
    asked, at = output_config(tmp_path, **SHARDED), 0
    while not (tmp_path / "out-00000.h5").exists():  # the last call before which there is no shard, but all its pieces
        discard(asked.output)
        at += 1
        with pytest.raises(Killed):
            write(asked, FaultyDisk(at))
    discard(asked.output)
    with pytest.raises(Killed):
        write(asked, FaultyDisk(at - 1))
    assert [] == list(tmp_path.glob("out-*.h5"))
    write(asked, FaultyDisk())
    assert [12, 12, 3] == [len(contents(path)["item"]) for path in sorted(tmp_path.glob("out-*.h5"))]


def test_a_patient_writer_waits_for_space(calm: dict[str, Array], tmp_path: Path) -> None:
    """It says for what it waits, and when that is over; every byte is as if nothing had been."""
    count = calls(tmp_path / "count")
    for at in range(1, count, count // 8):
        folder = tmp_path / f"{at}"
        folder.mkdir()
        disk = FaultyDisk(at, full=2, wait_s=60.0)
        write(output_config(folder), disk)
        check_equal(calm, contents(folder / "out.h5"))
        [why, end] = disk.told
        assert why.endswith(": No space left on device")
        assert "" == end


@pytest.mark.parametrize("compression", ["lzf", "gzip", "gzip:9", "zstd", "zstd:7", "blosc2", "blosc2:1"])
def test_every_compression_reads_back(compression: str, calm: dict[str, Array], tmp_path: Path) -> None:
    """Chunks are copied compressed as they are."""
    write(output_config(tmp_path, compression=compression), FaultyDisk(), upto=16)
    check_beginning(calm, tmp_path / "out.h5")
    write(output_config(tmp_path, compression=compression), FaultyDisk())
    check_equal(calm, contents(tmp_path / "out.h5"))
    with opened(tmp_path / "out.h5") as file:
        assert file["image"].id.get_create_plist().get_nfilters()


def test_shards_hold_what_was_asked_for_in_whole_chunks(calm: dict[str, Array], tmp_path: Path) -> None:
    """Each is a file of its own; the output opens all as one."""
    write(output_config(tmp_path, **SHARDED), FaultyDisk())
    check_equal(calm, contents(tmp_path / "out.h5"))
    shards = sorted(tmp_path.glob("out-*.h5"))
    assert ["out-00000.h5", "out-00001.h5", "out-00002.h5"] == [path.name for path in shards]
    assert [12, 12, 3] == [len(contents(path)["item"]) for path in shards]
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for path in (tmp_path / "out.h5", *shards):
        path.rename(moved / path.name)
    check_equal(calm, contents(moved / "out.h5"))


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


def test_parts_that_a_kill_left_beside_a_finished_output_go(tmp_path: Path) -> None:
    """But not what somebody else has put there."""
    write(output_config(tmp_path), FaultyDisk())
    parts = tmp_path / "out.h5.parts"
    parts.mkdir()
    (parts / "piece-000000000000.h5").touch()
    (parts / "mine.txt").touch()
    write(output_config(tmp_path), FaultyDisk())
    assert ["mine.txt"] == [path.name for path in parts.iterdir()]


def test_torn_pieces_are_made_again(calm: dict[str, Array], tmp_path: Path) -> None:
    """A power cut may leave what fsync promised not to: everything from there on is written anew."""
    write(output_config(tmp_path), FaultyDisk(), upto=24)
    parts = tmp_path / "out.h5.parts"
    first, second, third, *_ = sorted(parts.glob("piece-*.h5"))
    second.write_bytes(second.read_bytes()[:200])
    (parts / "piece-000000000099.h5.tmp").write_text("torn")
    write(output_config(tmp_path), FaultyDisk())
    check_equal(calm, contents(tmp_path / "out.h5"))
    assert not first.exists()
    assert not third.exists()


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


def test_a_file_that_cannot_be_put_together_is_not_begun(calm: dict[str, Array], tmp_path: Path) -> None:
    """What is missing is said in MB; what is committed reads; nothing is left lying about."""
    disk = FaultyDisk()
    asked = output_config(tmp_path)
    write(asked, disk, upto=24)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
        with pytest.raises(OutputError, match=r"out.h5: No space left on device: 0 MB are needed, 0 MB are free: free"):
            write(asked, disk)
    assert 27 == check_beginning(calm, tmp_path / "out.h5")
    assert [] == list((tmp_path / "out.h5.parts").glob("*.tmp"))
    write(asked, disk)
    check_equal(calm, contents(tmp_path / "out.h5"))


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


needs_tools = pytest.mark.skipif(
    not all(map(shutil.which, ("h5dump", "h5ls", "h5diff"))), reason="needs h5dump, h5ls and h5diff (hdf5-tools)"
)


@needs_tools
def test_hdf5s_own_tools_read_and_compare_all_of_it(calm: dict[str, Array], tmp_path: Path) -> None:
    """They know nothing of us: a view over pieces, one over shards and a finished file are the same to them."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    write(output_config(tmp_path / "a"), FaultyDisk())
    write(output_config(tmp_path / "b", **SHARDED), FaultyDisk())
    whole, view = tmp_path / "a" / "out.h5", tmp_path / "b" / "out.h5"
    for name in ("image", "label", "item", "patch", "epoch", "paths", "quarantine"):
        tool("h5diff", str(whole), str(view), f"/{name}", f"/{name}")
    listed = tool("h5ls", "-r", str(view))
    assert "/image                   Dataset {27, 1, 4, 1}" in listed
    assert "CHUNKED ( 4, 1, 4, 1 )" in tool("h5dump", "-p", "-H", "-d", "/image", str(whole))
    dumped = tool("h5dump", "-y", "-w", "0", "-d", "/item", str(view))
    assert ", ".join(map(str, calm["item"].tolist())) in dumped
    assert "VIRTUAL" not in tool("h5dump", "-H", str(whole))


def tool(*command: str) -> str:
    """Run one of the tools; return what it prints."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert 0 == done.returncode, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


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


@pytest.mark.parametrize("changes", [{"shard_size": 4}, {"shard_size": 16}], ids=["smaller", "larger"])
def test_shards_of_another_size_without_their_view_are_refused_and_stay(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    """Somebody removed the output and left its shards: they are named, not mixed with others, nor overwritten."""
    write(output_config(tmp_path, **SHARDED), FaultyDisk())
    (tmp_path / "out.h5").unlink()
    before = (tmp_path / "out-00000.h5").read_bytes()
    with pytest.raises(OutputError, match=r"out-00000.h5: holds 12 samples, .*: ask for the same, or move it away"):
        write(output_config(tmp_path, **changes), FaultyDisk())
    assert before == (tmp_path / "out-00000.h5").read_bytes()


def test_shards_of_more_epochs_without_their_view_are_refused(tmp_path: Path) -> None:
    """There would be more than is asked for: the writer would stand behind its end, and wait for ever."""
    write(output_config(tmp_path, **SHARDED), FaultyDisk())
    (tmp_path / "out.h5").unlink()
    fewer = make_plan(items=20)
    with pytest.raises(OutputError, match=r"out-00001.h5: .* 12 a shard of 20 are asked for"):
        Output(output_config(tmp_path, **SHARDED), fewer, FaultyDisk(), lambda _: None)


def test_a_finished_output_whose_shard_is_gone_is_not_called_finished(tmp_path: Path) -> None:
    """HDF5 would read zeros for it, without a word."""
    write(output_config(tmp_path, **SHARDED), FaultyDisk())
    (tmp_path / "out-00001.h5").unlink()
    with pytest.raises(OutputError, match=r"finished, but its shard .*out-00001.h5 is gone .*--force"):
        write(output_config(tmp_path, **SHARDED), FaultyDisk())


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


@pytest.mark.parametrize("at", [0, 2, 5, 6, 16])
def test_what_the_disk_could_not_keep_is_never_asked_for_twice(
    at: int, calm: dict[str, Array], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a sync that failed the system has dropped the data, and says yes to the next: it is written again."""
    folder = tmp_path / "synced"
    folder.mkdir()
    calls, sync = 0, os.fsync

    def fail_once(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == at + 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail_once)
        with pytest.raises(OutputError, match=r"what was written may not last: No space .* give the same command"):
            write(output_config(folder), FaultyDisk(wait_s=60.0))
    assert at + 1 == calls
    write(output_config(folder), FaultyDisk())
    check_equal(calm, contents(folder / "out.h5"))


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
