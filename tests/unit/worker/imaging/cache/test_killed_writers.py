"""A worker that is killed at any of its calls of the system: the others go on using the cache, and filling it."""

import fcntl
import os
import signal
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.cache.entries import get, pixels_of, put

from penstock.worker.imaging.cache.store import Store

LIMIT = 100_000_000
#: Every call by which the store changes what other processes see.
CALLS = ((os, "mkdir"), (os, "open"), (os, "pwrite"), (os, "pwritev"), (os, "utime"), (fcntl, "flock"))
#: More calls than a worker makes.
MOST = 60
#: Seconds after which a worker that does not end is ended.
DEADLINE_S = 60


def die_at(number: int, *, before: bool) -> None:
    """Let this process be killed before or after its call number `number` from now on."""
    left = number

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*given: Any, **named: Any) -> Any:
            nonlocal left
            left -= 1
            if before and not left:
                os.kill(os.getpid(), signal.SIGKILL)
            try:
                return call(*given, **named)
            finally:
                if not left:
                    os.kill(os.getpid(), signal.SIGKILL)

        return called

    for module, name in CALLS:
        setattr(module, name, counted(getattr(module, name)))


def killed(folder: Path, number: int, *, before: bool) -> bool:
    """Run a worker that opens the store and puts two images; return whether it was killed on the way."""
    if not (child := os.fork()):
        status = 1
        try:
            signal.alarm(DEADLINE_S)
            die_at(number, before=before)
            store = Store(str(folder), LIMIT)
            put(store, 0)
            put(store, 1)
            store.close()
            status = 0
        except Exception:  # noqa: BLE001 - of a forked process, which must not go on into pytest
            traceback.print_exc()
        finally:
            os._exit(status)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert ended in (0, -signal.SIGKILL), ended
    return ended != 0


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("first", [True, False], ids=["alone", "beside-another"])
def test_a_worker_that_is_killed_at_any_call_leaves_the_cache_to_the_others(
    tmp_path: Path, *, before: bool, first: bool
) -> None:
    """Whatever it was about to make (folder, count, index, segment, entry) or held (a lock), alone or beside others."""
    number, places = 0, 0
    while number < MOST:
        number += 1
        folder = tmp_path / f"{number}"
        survivor = None if first else Store(str(folder), LIMIT)
        if survivor:
            assert put(survivor, 7)
        if not killed(folder, number, before=before):
            break
        places += 1
        survivor = survivor or Store(str(folder), LIMIT)
        for item in range(5):
            assert get(survivor, item) is not None or put(survivor, item), (number, item)
        later = Store(str(folder), LIMIT)
        for item in range(5):
            for store in (survivor, later):
                found = get(store, item)
                assert found is not None, (number, item)
                assert np.array_equal(pixels_of(item), found)
        assert not survivor.notes
        survivor.close()
        later.close()
    assert 10 < places < MOST
