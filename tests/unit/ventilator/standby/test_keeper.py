"""The thread that keeps a record: one of two acts, and the other one once the first has left or lost the folder."""

import errno
import os
import shutil
import threading
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from support.streams import until

from penstock.ventilator.standby.candidate import Job, Seen
from penstock.ventilator.standby.keeper import Keeper
from penstock.ventilator.standby.record_files import RecordFiles


@contextmanager
def keeper(folder: Path, name: str, takeover_s: float = 0.5) -> Generator[Keeper]:
    """Run a keeper that others wait so long for; by default, it stops to act whenever this machine stalls."""
    made = Keeper(str(folder), takeover_s, f"tcp://{name}:5555", lambda: None)
    try:
        yield made
    finally:
        made.close()


def test_one_acts_and_the_next_one_once_it_has_left(tmp_path: Path) -> None:
    """With a higher term, by which the first may not send any more; both know who acts and who waits."""
    with ExitStack() as first, keeper(tmp_path, "b", 5.0) as b:
        until(lambda: b.term > 0, "the first to act")
        a = first.enter_context(keeper(tmp_path, "a", 5.0))
        until(lambda: a.standing().holder.endswith("at tcp://b:5555"), "the other one to know who acts")
        until(lambda: len(b.standing().waiting) == 1, "the first to know that another one waits")
        assert 0 == a.term
        before = b.term
        assert b.may_act(before)
        b.close()
        until(lambda: a.term > 0, "the other one to act")
        assert before < a.term
        assert not b.may_act(before)
        assert not b.may_act(a.term)


def test_one_whose_folder_is_gone_does_not_act(tmp_path: Path) -> None:
    """It acts again, with a new term, once the folder is back."""
    folder = tmp_path / "records"
    folder.mkdir()
    with keeper(folder, "a") as a:
        until(lambda: a.term > 0, "it to act")
        before = a.term
        folder.rename(tmp_path / "away")
        until(lambda: a.term == 0, "it to stop")
        assert not a.may_act(before)
        until(lambda: "folder of records" in a.standing().why, "it to say why")
        (tmp_path / "away").rename(folder)
        until(lambda: a.term > before, "it to act again")


def test_a_folder_that_is_removed_and_made_again_ends_nothing(tmp_path: Path) -> None:
    """It says which file was missing, and acts again once it can write, with a higher term."""
    folder = tmp_path / "records"
    folder.mkdir()
    with keeper(folder, "a") as a:
        until(lambda: a.term > 0, "it to act")
        before = a.term
        folder.rename(tmp_path / "away")  # at once: a record that is written meanwhile would keep it
        shutil.rmtree(tmp_path / "away")
        until(lambda: a.term == 0, "it to stop")
        until(lambda: f"'{folder}" in a.trouble, "it to say which file it misses")
        folder.mkdir()
        until(lambda: a.term > before, "it to act again")
        assert a.trouble == ""


def test_a_full_disk_is_said_and_over_once_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be written: it does not act, and says why."""
    full = threading.Event()
    write = os.pwrite

    def pwrite(descriptor: int, content: bytes, offset: int) -> int:
        if full.is_set():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, content, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    with keeper(tmp_path, "a") as a:
        until(lambda: a.term > 0, "it to act")
        full.set()
        until(lambda: a.term == 0, "it to stop")
        until(
            lambda: f"the folder of records: '{tmp_path}': No space left on device" == a.standing().why, "it to say why"
        )
        full.clear()
        until(lambda: a.term > 0, "it to act again")


def test_a_folder_that_does_not_answer_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead file server lets calls hang: whoever acts stops by the clock, and the status says why."""
    hangs, on = threading.Event(), threading.Event()
    do = RecordFiles.do

    def hang(files: RecordFiles, job: Job) -> Seen:
        if hangs.is_set():
            on.wait(60)
        return do(files, job)

    monkeypatch.setattr(RecordFiles, "do", hang)
    with keeper(tmp_path, "a") as a:
        until(lambda: a.term > 0, "it to act")
        before = a.term
        hangs.set()
        until(lambda: a.term == 0, "it to stop")
        until(lambda: "has not answered for" in a.standing().why, "it to say why")
        hangs.clear()
        on.set()
        until(lambda: a.term > before, "it to act again")


def test_a_fault_in_the_thread_is_raised_where_the_loop_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a ventilator would run on that never acts again, and nothing would say so."""

    def fail(_: RecordFiles, __: Job) -> Seen:
        raise MemoryError

    monkeypatch.setattr(RecordFiles, "do", fail)
    with keeper(tmp_path, "a") as a:
        until(lambda: a._broken is not None, "the thread to end")
        with pytest.raises(RuntimeError, match="the thread that keeps the record of this ventilator has ended"):
            _ = a.term
