"""The cache's limit: kept by all processes together, and what gives way when it is reached."""

import fcntl
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.cache.entries import GROUP, SIZE, User, get, put

from penstock.worker.imaging.cache.budget import Ages
from penstock.worker.imaging.cache.folder import USED, list_files
from penstock.worker.imaging.cache.store import Store

#: Tidying is always due.
EAGER = Ages(pause_s=0.0, share=1e9)


def bytes_in(store: Store) -> int:
    """Return how many bytes the entries take on the disk."""
    groups = [path for path in store.folder.iterdir() if path.is_dir()]
    return sum(file.bytes for group in groups for file in list_files(str(group)) if file.segment)


def reopened(store: Store, limit_bytes: int, ages: Ages = EAGER) -> Store:
    """Return the store as another process opens it."""
    return Store(str(store.folder.parent), limit_bytes, ages)


def make_old(store: Store, group: str, age_s: float) -> None:
    """Let a group have been used so long ago."""
    then = time.time() - age_s
    os.utime(store.folder / group / USED, (then, then))


def test_a_full_store_keeps_what_it_has(tmp_path: Path) -> None:
    """Nothing in use gives way: an epoch asks for every image once, so the oldest is the next to be asked for."""
    store = Store(str(tmp_path), 10 * SIZE, EAGER)
    kept = [put(store, number) for number in range(30)]
    assert [True] * 10 + [False] * 20 == kept
    assert bytes_in(store) <= 10 * SIZE
    assert all(get(store, number) is not None for number in range(10))
    assert not store.notes  # being full is no fault


def test_two_processes_share_one_limit(tmp_path: Path) -> None:
    """Their entries together stay below it."""
    one = Store(str(tmp_path), 10 * SIZE, EAGER)
    other = reopened(one, 10 * SIZE)
    kept = [put((one, other)[number % 2], number) for number in range(30)]
    assert 10 == sum(kept)
    assert bytes_in(one) <= 10 * SIZE


def test_a_recipe_that_is_not_used_any_more_gives_way(tmp_path: Path) -> None:
    """Two spec versions stand side by side while both are used; then the old one makes room for the new one."""
    old = Store(str(tmp_path), 12 * SIZE, EAGER)
    user = User(old, "old")
    assert all(put(old, number, group="old") for number in range(12))
    new = reopened(old, 12 * SIZE)
    assert not put(new, 100, group="new")
    assert all(get(old, number, group="old") is not None for number in range(12))
    assert "old" == user.group
    make_old(old, "old", 3600.0)
    new = reopened(old, 12 * SIZE)
    assert all(put(new, number, group="new") for number in range(100, 103))
    assert bytes_in(new) <= 12 * SIZE
    assert all(get(new, number, group="new") is not None for number in range(100, 103))


def test_streams_of_one_worker_stay_in_use_together(tmp_path: Path) -> None:
    """A validation stream is not read for an hour, and its images stay while the worker reads the training stream."""
    store = Store(str(tmp_path), 12 * SIZE, EAGER)
    users = [User(store, "train"), User(store, "validation")]
    assert all(put(store, number, group=users[number % 2].group) for number in range(12))
    for user in users:
        make_old(store, user.group, 3600.0)
    again = reopened(store, 12 * SIZE)
    users = [User(again, user.group) for user in users]
    assert get(again, 0, group="train") is not None
    assert not put(again, 100, group="train")
    assert all(get(again, number, group=users[number % 2].group) is not None for number in range(12))


def test_an_entry_that_nobody_asked_for_in_a_day_gives_way(tmp_path: Path) -> None:
    """As when items leave the source; what was asked for since stays."""
    store = Store(str(tmp_path), 12 * SIZE, EAGER)
    assert all(put(store, number) for number in range(12))
    yesterday = time.time() - 100_000.0
    for file in list_files(str(store.folder / GROUP)):
        os.utime(file.path, (yesterday, yesterday))
    assert get(store, 3) is not None
    fresh = reopened(store, 12 * SIZE)
    assert put(fresh, 100)
    assert get(fresh, 3) is not None
    assert bytes_in(fresh) <= 12 * SIZE


def test_what_dead_writers_reserved_is_counted_out(tmp_path: Path) -> None:
    """A killed process gives nothing back."""
    dead = Store(str(tmp_path), 10 * SIZE, EAGER)
    assert put(dead, 1)
    dead._budget._change(8 * SIZE)
    alive = reopened(dead, 10 * SIZE)
    assert [True] * 9 + [False] == [put(alive, number) for number in range(2, 12)]


def test_a_lost_count_is_made_anew(tmp_path: Path) -> None:
    """Whoever removes the count, or half of the cache, does no harm."""
    store = Store(str(tmp_path), 10 * SIZE, EAGER)
    assert all(put(store, number) for number in range(6))
    store.close()
    (store.folder / "usage").unlink()
    again = reopened(store, 10 * SIZE)
    assert 4 == sum(put(again, number) for number in range(100, 110))
    shutil.rmtree(store.folder / GROUP)
    assert 10 == sum(put(reopened(store, 10 * SIZE), number) for number in range(10))


def test_a_process_that_stands_still_with_the_lock_keeps_nobody_waiting(tmp_path: Path) -> None:
    """The image is not kept, and training goes on; the next one is kept as soon as the kernel has the lock back."""
    store = Store(str(tmp_path), 10 * SIZE, EAGER)
    assert put(store, 1)
    holder = os.open(store.folder / "usage", os.O_RDWR)
    fcntl.flock(holder, fcntl.LOCK_EX)
    other = reopened(store, 10 * SIZE)
    assert not put(other, 2)
    assert get(other, 1) is not None
    os.close(holder)
    assert put(other, 3)  # a lock that was held says nothing of the room
    assert 2 * SIZE == bytes_in(store)


def test_an_image_that_would_take_most_of_the_room_is_not_kept(tmp_path: Path) -> None:
    """It would throw out all others."""
    assert not put(Store(str(tmp_path), 7 * SIZE, EAGER), 1)


FILL = """
import resource, sys
from support.cache.entries import get, put
from penstock.worker.imaging.cache.store import Store
if sys.argv[2] == "files":
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
store = Store(sys.argv[1], 1_000_000_000)
kept = [put(store, number) for number in range(200)]
served = [get(store, number) is not None for number in range(200)]
print(sum(kept), kept == served, list(store.notes), store.stopped)
"""


def fill(folder: Path, limit: str, before: Callable[[list[str]], list[str]] = list) -> list[str]:
    """Fill a store in a process of its own, where a disk or a file can hold little; return what it printed."""
    command = before([sys.executable, "-c", FILL, str(folder), limit])
    path = os.pathsep.join([str(Path(__file__).parents[4]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": path})
    return done.stdout.splitlines()


def test_a_full_disk_stops_the_growth_and_is_said_once(tmp_path: Path) -> None:
    """On a real file system of 1 MB, what was kept is served, nothing half-written stays, and no error is raised."""

    def on_small_disk(command: list[str]) -> list[str]:
        mount = f'mount -t tmpfs -o size=1m small "{tmp_path}" && exec "$@"'
        return ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh", *command]

    if subprocess.run(on_small_disk(["true"]), capture_output=True, check=False).returncode:
        pytest.skip("this host lets no test mount a file system of its own")
    [kept] = fill(tmp_path, "disk", on_small_disk)
    assert 10 < int(kept.split()[0]) < 80
    assert "True" == kept.split()[1]
    assert 1 == kept.count("does not grow: No space left on device")
    assert kept.endswith(" No space left on device")


def test_a_disk_that_has_room_again_is_no_longer_called_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is told of the disk is that of the last image; reaching the limit is no fault of it."""
    store = Store(str(tmp_path), 10 * SIZE, EAGER)
    free = os.statvfs(tmp_path)
    full = os.statvfs_result([*free[:4], 0, *free[5:]])
    for number in range(0, 10, 5):
        monkeypatch.setattr(os, "statvfs", lambda _: full)
        assert not put(store, number)
        assert "No space left on device" == store.stopped
        monkeypatch.setattr(os, "statvfs", lambda _: free)
        store._closed_until = 0.0  # what a minute does
        assert put(store, number)
        assert not store.stopped
    assert not all(put(store, number) for number in range(20, 30))
    assert not store.stopped


def test_a_write_that_the_system_cuts_short_leaves_nothing(tmp_path: Path) -> None:
    """The kernel takes 5000 bytes of each file and refuses the rest, as a full disk does in the middle of a file."""
    assert resource.RLIMIT_FSIZE
    [kept] = fill(tmp_path, "files")
    assert kept.startswith("0 True ['the cache of decoded images in ")
    assert 1 == kept.count("does not grow: File too large")
