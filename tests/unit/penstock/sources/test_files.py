"""Reading: what a worker opens, what it never opens, and what each failure is called."""

import errno
import fcntl
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.images import open_to_all, unprivileged
from support.streams import DEADLINE_S

from penstock.protocol.errors import ItemError, SourceError
from penstock.protocol.storage.confined_files import open_below
from penstock.sources.files import read_file

LIMIT_BYTES = 1_000_000


def reading(root: Path, path: str, limit_bytes: int = LIMIT_BYTES) -> bytes:
    """Read a file that must lie inside `root`."""
    return read_file(root, path, limit_bytes, allow_outside=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a root with a secret file next to it."""
    (tmp_path / "root/sub").mkdir(parents=True)
    (tmp_path / "root-twin").mkdir()
    (tmp_path / "root/sub/ä b.jpg").write_bytes(b"inside")
    (tmp_path / "secret").write_bytes(b"outside")
    (tmp_path / "root-twin/secret").write_bytes(b"outside")
    return tmp_path / "root"


def test_a_file_is_read_whole_whatever_its_name(folder: Path) -> None:
    """Spaces and Unicode need no care; neither does a root that is relative, a link, or ends in a slash."""
    assert b"inside" == reading(folder, "sub/ä b.jpg")
    assert b"inside" == reading(Path(f"{folder}/"), "sub/ä b.jpg")
    assert b"inside" == reading(Path(os.path.relpath(folder)), "sub/ä b.jpg")
    (folder.parent / "link").symlink_to(folder)
    assert b"inside" == reading(folder.parent / "link", "sub/ä b.jpg")
    assert b"inside" == reading(Path("/"), f"{str(folder)[1:]}/sub/ä b.jpg")
    large = os.urandom(3_000_000)
    (folder / "large").write_bytes(large)
    assert large == reading(folder, "large", 3_000_000)


def test_links_inside_the_root_are_followed(folder: Path) -> None:
    """What counts is where the file lies."""
    (folder / "link.jpg").symlink_to("sub/ä b.jpg")
    (folder / "folder").symlink_to(folder / "sub")
    assert b"inside" == reading(folder, "link.jpg") == reading(folder, "folder/ä b.jpg")
    assert b"inside" == reading(folder, "sub/../sub/ä b.jpg")


@pytest.mark.parametrize("path", ["link.jpg", "folder/secret", "twin/secret", "../secret", "sub/../../secret"])
def test_nothing_outside_the_root_is_read_unless_allowed(folder: Path, path: str) -> None:
    """Neither links nor '..' lead out, not even to a sibling whose name begins like the root's."""
    (folder / "link.jpg").symlink_to(folder.parent / "secret")
    (folder / "folder").symlink_to("..")
    (folder / "twin").symlink_to("../root-twin")
    with pytest.raises(ItemError, match=r"outside its root.*allow_outside = true"):
        reading(folder, path)
    assert b"outside" == read_file(folder, path, LIMIT_BYTES, allow_outside=True)


def test_what_lies_outside_is_not_even_opened(folder: Path) -> None:
    """A lease tells its holder of every open; merely opening some files does something: a tape, a watchdog, FUSE."""
    opened: list[int] = []
    (folder / "link.jpg").symlink_to(folder.parent / "secret")
    before = signal.signal(signal.SIGIO, lambda number, _: opened.append(number))
    descriptor = os.open(folder.parent / "secret", os.O_RDWR)
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except OSError as error:
        pytest.skip(f"NOT TESTED: this filesystem has no leases: {error}")
    else:
        with pytest.raises(ItemError, match="outside its root"):
            reading(folder, "link.jpg")
        with pytest.raises(SourceError, match="outside its root"):
            open_below(str(folder), "link.jpg", allow_outside=False)
        assert [] == opened
        with pytest.raises(BlockingIOError):
            os.open(folder.parent / "secret", os.O_RDONLY | os.O_NONBLOCK)
        assert [signal.SIGIO] == opened, "the lease tells nothing"
    finally:
        os.close(descriptor)
        signal.signal(signal.SIGIO, before)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.lists(
        st.sampled_from(["..", ".", "", "sub", "up", "root", "root-twin", "secret", "ä b.jpg"]) | st.text(max_size=3),
        max_size=8,
    ).map("/".join)
)
def test_no_path_at_all_reaches_the_secret(folder: Path, path: str) -> None:
    """Any path either reads the file inside or is an ItemError."""
    link = folder / "up"
    if not link.is_symlink():
        link.symlink_to("..")
    try:
        content = reading(folder, path)
    except ItemError:
        return
    assert b"inside" == content


def test_a_root_that_is_linked_anew_is_resolved_anew(folder: Path) -> None:
    """A worker outlives a remounted root: what it remembers of the root is not the last word."""
    link, other = folder.parent / "current", folder.parent / "other"
    (other / "sub").mkdir(parents=True)
    (other / "sub/ä b.jpg").write_bytes(b"newer")
    link.symlink_to(folder)
    assert b"inside" == reading(link, "sub/ä b.jpg")
    link.unlink()
    link.symlink_to(other)
    assert b"newer" == reading(link, "sub/ä b.jpg")


def make_socket(path: Path) -> None:
    """Leave a socket file behind."""
    here = Path.cwd()
    os.chdir(path.parent)  # a socket's path must be short
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    finally:
        os.chdir(here)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda _: None, r"^no such file"),
        (lambda path: path.mkdir(), r"^not a file but a folder$"),
        (lambda path: path.touch(), r"^the file is empty$"),
        (
            lambda path: path.write_bytes(bytes(11)),
            r"^11 bytes is over the limit of 10 bytes \(transform.max_file_mb\)$",
        ),
        (os.mkfifo, r"^not a file but a named pipe$"),
        (make_socket, r"^not a file but a socket$"),
        (lambda path: path.symlink_to(path.name), r"^its symbolic links lead in a circle$"),
        (lambda path: path.symlink_to("gone"), r"^no such file"),
        (lambda path: path.symlink_to("sub/ä b.jpg/x"), r"^a part of its path is a file, not a folder$"),
    ],
)
def test_what_is_not_a_small_regular_file_is_named(folder: Path, make: Callable[[Path], None], reason: str) -> None:
    """Each has a reason in words, without a path of this host; a pipe without a writer hangs nothing."""
    make(folder / "x.jpg")
    with pytest.raises(ItemError, match=reason) as caught:
        reading(folder, "x.jpg", 10)
    assert str(folder) not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("x" * 300, "too long for this host"),
        ("x/" * 3000, "too long for this host"),
        ("nul\0.jpg", "not a possible path"),
        ("\ud800.jpg", "not a possible path"),
        ("", "not a file but a folder"),
    ],
)
def test_an_impossible_path_is_named(folder: Path, path: str, reason: str) -> None:
    """Paths come from a manifest: whatever they hold, the answer is a reason."""
    with pytest.raises(ItemError, match=reason):
        reading(folder, path)


def test_a_device_is_not_read(tmp_path: Path) -> None:
    """Not even where links may lead outside."""
    (tmp_path / "x.jpg").symlink_to("/dev/zero")
    with pytest.raises(ItemError, match="not a file but a device"):
        read_file(tmp_path, "x.jpg", LIMIT_BYTES, allow_outside=True)


def test_an_unreadable_file_is_named(folder: Path) -> None:
    """Permission denied is the item's failure, not the worker's."""
    (folder / "x.jpg").write_bytes(b"x")
    (folder / "x.jpg").chmod(0)
    open_to_all(folder)
    with unprivileged(), pytest.raises(ItemError, match="permission denied: the worker may not read it"):
        reading(folder, "x.jpg")


def test_a_file_that_shrinks_while_it_is_read_is_named(folder: Path) -> None:
    """A file that is emptied and filled all the time is read whole or named, never returned short."""
    path, whole = folder / "x.jpg", os.urandom(500_000)
    path.write_bytes(whole)
    reasons: set[str] = set()
    stop = threading.Event()

    def shrink() -> None:
        descriptor = os.open(path, os.O_RDWR)
        while not stop.is_set():
            os.ftruncate(descriptor, 1000)
            os.pwrite(descriptor, whole, 0)
        os.close(descriptor)

    thread = threading.Thread(target=shrink)
    thread.start()
    deadline = time.monotonic() + DEADLINE_S
    try:
        while not any(reason.startswith("the file shrank") for reason in reasons):
            assert time.monotonic() < deadline, f"never met a shrinking file, only {reasons}"
            try:
                content = reading(folder, "x.jpg")
            except ItemError as error:
                reasons.add(str(error))
            else:
                assert len(content) <= len(whole)
    finally:
        stop.set()
        thread.join()
    assert {"the file shrank while it was read"} == {reason.partition(":")[0] for reason in reasons}


def test_a_file_that_is_blocked_for_a_moment_is_read_on_a_further_try(folder: Path) -> None:
    """A lease on a file makes the kernel answer EAGAIN until its holder gives it back, as a busy file server does."""
    path = folder / "x.jpg"
    path.write_bytes(b"content")
    broken: list[int] = []

    def give_back(number: int, _frame: FrameType | None) -> None:
        broken.append(number)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)

    before = signal.signal(signal.SIGIO, give_back)
    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except OSError as error:
        pytest.skip(f"NOT TESTED: this filesystem has no leases: {error}")
    else:
        assert b"content" == reading(folder, "x.jpg")
        assert [signal.SIGIO] == broken
    finally:
        os.close(descriptor)
        signal.signal(signal.SIGIO, before)


def test_an_error_that_stays_is_given_up_after_four_tries(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fails for good is asked four times, then named; other errors are not asked again."""
    tries: list[int] = []

    def failing(number: int) -> Callable[[int, int], bytes]:
        def fail(_descriptor: int, _size: int) -> bytes:
            tries.append(number)
            raise OSError(number, os.strerror(number))

        return fail

    monkeypatch.setattr("penstock.sources.files._BACKOFF_S", (0.0, 0.0, 0.0))
    monkeypatch.setattr(os, "read", failing(errno.EIO))
    with pytest.raises(ItemError, match=r"cannot read, 4 times tried: Input/output error"):
        reading(folder, "sub/ä b.jpg")
    monkeypatch.setattr(os, "read", failing(errno.ENOTCONN))
    with pytest.raises(ItemError, match=r"cannot read: Transport endpoint is not connected"):
        reading(folder, "sub/ä b.jpg")
    assert [errno.EIO] * 4 + [errno.ENOTCONN] == tries


def test_failed_reads_leave_no_file_open(folder: Path) -> None:
    """No failure leaves a descriptor of a file or folder below the root, or next to it."""
    (folder / "empty.jpg").touch()
    for _ in range(50):
        for path in ("empty.jpg", "sub", "../secret"):
            with pytest.raises(ItemError):
                reading(folder, path)
    left: list[str] = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # that of this very loop, or of a thread of an earlier test
            left.append(str(descriptor.readlink()))
    assert [] == [place for place in left if place.startswith(str(folder.parent))]
