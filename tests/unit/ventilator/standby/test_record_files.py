"""The records in a folder: each number is claimed once, whoever tries, and what is read is what was written last."""

import errno
import json
import os
import socket
import stat
import threading
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from penstock.protocol.errors import SpecError
from penstock.ventilator.standby.candidate import Claim, Look, Record, Renew
from penstock.ventilator.standby.record_files import RecordFiles


def record(holder: str, beat: int = 0) -> Record:
    """Return the record of a ventilator that acts."""
    return Record(holder, f"host/{holder}", "tcp://host:5555", 4.0, term=7, beat=beat)


def test_a_number_is_claimed_renewed_and_read(tmp_path: Path) -> None:
    """Each change is seen by the others, and so is each of those that wait."""
    one, two = RecordFiles(str(tmp_path), "one"), RecordFiles(str(tmp_path), "two")
    assert 0 == one.do(Look(record("one"))).number
    assert one.do(Claim(1, record("one"))).done
    seen = two.do(Look(record("two", 5)))
    assert (1, record("one")) == (seen.number, seen.record)
    assert one.do(Renew(1, record("one", 2))).done
    again = two.do(Look(record("two", 6)))
    assert record("one", 2) == again.record
    assert seen.content != again.content
    assert (record("two", 6),) == one.do(Renew(1, record("one", 3))).waiting


def test_of_many_that_claim_a_number_one_gets_it(tmp_path: Path) -> None:
    """At the same moment, again and again."""
    files = [RecordFiles(str(tmp_path), f"h{n}") for n in range(8)]
    for number in range(1, 20):
        won: list[str] = []
        ready = threading.Barrier(len(files))

        def claim(n: int, number: int = number, won: list[str] = won, ready: threading.Barrier = ready) -> None:
            ready.wait(60)
            try:
                done = files[n].do(Claim(number, record(f"h{n}"))).done
            except FileNotFoundError:  # the winner has tidied up what this one was about to link
                return
            if done:
                won.append(f"h{n}")

        threads = [threading.Thread(target=claim, args=(n,)) for n in range(len(files))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        seen = files[0].do(Look(record("h0")))
        assert [seen.record.holder] == won if seen.record else not won


def test_a_file_system_without_hard_links_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record is made by a call that fails if there is one."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    one, two = RecordFiles(str(tmp_path), "one"), RecordFiles(str(tmp_path), "two")
    assert one.do(Claim(1, record("one"))).done
    assert not two.do(Claim(1, record("two"))).done
    assert record("one") == two.do(Look(record("two"))).record
    assert two.do(Claim(2, record("two"))).done


def test_a_file_system_that_cannot_sync_a_folder_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise none would ever act, and each try would leave a record behind."""
    sync = os.fsync

    def refuse_folders(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse_folders)
    assert RecordFiles(str(tmp_path), "one").do(Claim(1, record("one"))).done


def test_what_cannot_be_removed_voids_no_claim(tmp_path: Path) -> None:
    """Another user's file, or a folder of that name: the rest is removed all the same."""
    (tmp_path / "waiting-a").mkdir()
    (tmp_path / "acting-1").mkdir()
    RecordFiles(str(tmp_path), "killed")
    files = RecordFiles(str(tmp_path), "one")
    for number in range(101, 104):
        assert files.do(Claim(number, record("one"))).done
    assert {"waiting-a", "acting-1"} == {path.name for path in tmp_path.iterdir() if path.is_dir()}
    assert files.do(Renew(103, record("one"), over=("killed", "a"))).done
    assert not list(tmp_path.glob("waiting-killed"))


def test_others_may_remove_a_file_between_any_two_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever claims a number tidies up, while others start and write theirs."""
    make = os.open

    def remove_before(path: str | Path, flags: int, mode: int = 0o777) -> int:
        for waiting in tmp_path.glob("waiting-*"):
            waiting.unlink()
        return make(path, flags, mode)

    monkeypatch.setattr(os, "open", remove_before)
    assert 0 == RecordFiles(str(tmp_path), "one").do(Look(record("one"))).number


def test_a_claim_of_a_number_that_is_over_is_void(tmp_path: Path) -> None:
    """Also if its record is not there any more: a process that was stopped for long may try."""
    late = RecordFiles(str(tmp_path), "late")
    other = RecordFiles(str(tmp_path), "other")
    for number in range(1, 4):
        assert other.do(Claim(number, record("other"))).done
    (tmp_path / "acting-2").unlink()
    assert not late.do(Claim(2, record("late"))).done
    assert not late.do(Claim(3, record("late"))).done
    assert late.do(Claim(4, record("late"))).done
    assert not other.do(Renew(3, record("other"))).done, "a higher number ends it"


def test_what_is_removed_or_torn_is_no_record(tmp_path: Path) -> None:
    """The number stays known, so that no other one acts before the time is over; a renewal makes no new file."""
    files = RecordFiles(str(tmp_path), "one")
    files.do(Claim(1, record("one")))
    (tmp_path / "acting-1").write_bytes(b'{"holder": "o')
    assert (1, None) == (files.do(Look(record("one"))).number, files.do(Look(record("one"))).record)
    (tmp_path / "acting-1").unlink()
    seen = files.do(Look(record("one")))
    assert (1, b"", None) == (seen.number, seen.content, seen.record)
    assert not files.do(Renew(1, record("one"))).done
    assert not (tmp_path / "acting-1").exists()


def said(**changes: object) -> bytes:
    """Return the bytes of a record in which something is changed."""
    return json.dumps(asdict(record("other")) | changes).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"[]",
        b'{"holder": 1}',
        b"null",
        b"\xff\xfe",
        b"",
        b"[" * 2000,
        said(takeover_s=float("inf")),
        said(takeover_s=float("nan")),
        said(takeover_s=-1.0),
        said(term=2**62),
        said(term=-1),
        said(beat=True),
        said(more=1),
    ],
)
def test_foreign_content_is_no_record(tmp_path: Path, content: bytes) -> None:
    """It is read as something that is not understood, and raises nothing."""
    files = RecordFiles(str(tmp_path), "one")
    (tmp_path / "acting-3").write_bytes(content)
    (tmp_path / "acting-x").write_bytes(content)
    seen = files.do(Look(record("one")))
    assert (3, content, None) == (seen.number, seen.content, seen.record)


def make_pipe(path: Path) -> None:
    """Make a pipe, whose reader waits for a writer."""
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    """Make a Unix socket."""
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def make_large(path: Path) -> None:
    """Make a file of 1 TB, of which nothing is on the disk."""
    with path.open("wb") as file:
        file.truncate(10**12)


FOREIGN: dict[str, Callable[[Path], object]] = {
    "folder": Path.mkdir,
    "pipe": make_pipe,
    "socket": make_socket,
    "link to nothing": lambda path: path.symlink_to(path.with_name("nothing")),
    "link to itself": lambda path: path.symlink_to(path.name),
    "link to a device": lambda path: path.symlink_to("/dev/zero"),
    "large file": make_large,
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_what_is_no_plain_small_file_is_no_record(tmp_path: Path, kind: str) -> None:
    """Wherever it stands: nothing waits for it or reads it whole, and the next number can be claimed."""
    files = RecordFiles(str(tmp_path), "one")
    for name in ("acting-3", "waiting-x", "claim-x", "acting-0003", "acting-99999999999999999999"):
        FOREIGN[kind](tmp_path / name)
    seen = files.do(Look(record("one")))
    assert (3, None, (record("one"),)) == (seen.number, seen.record, seen.waiting)
    assert len(seen.content) < 3000
    assert files.do(Claim(4, record("one"))).done
    assert files.do(Renew(4, record("one", 2))).done
    assert record("one", 2) == files.do(Look(record("one"))).record


def test_a_record_that_may_not_be_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be that of one that acts: taken for none, two would act. The error names the file."""
    files = RecordFiles(str(tmp_path), "one")
    assert files.do(Claim(1, record("one"))).done
    make = os.open

    def refuse(path: str | Path, flags: int, mode: int = 0o777) -> int:
        if Path(path).name == "acting-1":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return make(path, flags, mode)

    monkeypatch.setattr(os, "open", refuse)  # root may read everything
    with pytest.raises(PermissionError, match="acting-1"):
        RecordFiles(str(tmp_path), "two").do(Look(record("two")))


def test_a_number_without_a_next_one_is_an_error(tmp_path: Path) -> None:
    """A file that someone made must not let the ventilators claim for ever what nobody sees."""
    (tmp_path / f"acting-{10**15 - 1}").touch()
    files = RecordFiles(str(tmp_path), "one")
    assert 10**15 - 1 == files.do(Look(record("one"))).number
    with pytest.raises(OSError, match=r"stop all .*, remove acting-999999999999999, and start them again"):
        files.do(Claim(10**15, record("one")))
    (tmp_path / f"acting-{10**15 - 1}").unlink()
    assert 10**15 - 1 == files.do(Look(record("one"))).number, "a list of files may be old"
    again = RecordFiles(str(tmp_path), "again")
    assert 0 == again.do(Look(record("again"))).number
    assert again.do(Claim(1, record("again"))).done


def test_foreign_files_hide_none_that_waits_and_are_removed(tmp_path: Path) -> None:
    """However many there are; those that could not be understood twice go with the next claim."""
    for n in range(100):
        (tmp_path / f"waiting-{n:03}").write_bytes(b"foreign")
    one, two = RecordFiles(str(tmp_path), "one"), RecordFiles(str(tmp_path), "two")
    two.do(Look(record("two")))
    assert {"one", "two"} == {each.holder for each in one.do(Look(record("one"))).waiting}
    assert one.do(Claim(1, record("one"))).done
    assert ["waiting-two"] == [path.name for path in tmp_path.glob("waiting-*")]


def test_the_records_of_those_that_have_ended_are_removed_with_a_renewal(tmp_path: Path) -> None:
    """Those only that are named; and a record tells of nobody but the one whose name its file has."""
    files = RecordFiles(str(tmp_path), "one")
    assert files.do(Claim(1, record("one"))).done
    for name in ("gone", "here"):
        RecordFiles(str(tmp_path), name).do(Look(record(name)))
    (tmp_path / "waiting-false").write_bytes((tmp_path / "waiting-here").read_bytes())
    assert {"gone", "here"} == {each.holder for each in files.do(Renew(1, record("one", 2))).waiting}
    assert (record("here"),) == files.do(Renew(1, record("one", 3), over=("gone", "not there"))).waiting
    assert {"acting-1", "waiting-here", "waiting-false"} == {path.name for path in tmp_path.iterdir()}


def test_long_texts_do_not_change_a_records_length(tmp_path: Path) -> None:
    """Records are written over each other."""
    files = RecordFiles(str(tmp_path), "one")
    files.do(Claim(1, replace(record("one"), name="\udcff" * 5000, address="é" * 5000)))
    size = (tmp_path / "acting-1").stat().st_size
    files.do(Renew(1, record("one")))
    assert size == (tmp_path / "acting-1").stat().st_size
    assert record("one") == files.do(Look(record("one"))).record


def test_old_records_and_those_of_killed_ventilators_are_removed(tmp_path: Path) -> None:
    """The folder does not grow without end."""
    for n in range(5):
        RecordFiles(str(tmp_path), f"killed{n}")
    files = RecordFiles(str(tmp_path), "one")
    (tmp_path / "claim-killed-1").touch()
    for number in range(1, 121):
        assert files.do(Claim(number, record("one"))).done
    assert files.do(Renew(120, record("one"), over=tuple(f"killed{n}" for n in range(5)))).done
    names = [path.name for path in tmp_path.iterdir()]
    assert 100 == len(names)
    assert all(name.startswith("acting-") for name in names)
    files.do(Look(record("one")))
    files.close()
    assert 100 == len(list(tmp_path.iterdir()))


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """It is not made: on a host that has not mounted it, each ventilator would act by a folder of its own."""
    with pytest.raises(SpecError, match=r"--standby '.*missing': no such folder; make one that every ventilator"):
        RecordFiles(str(tmp_path / "missing"), "one")
