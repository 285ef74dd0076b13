"""The longest time that other threads of this process waited for their turn, while something held them up."""

import threading
import time
from collections.abc import Callable


def longest_gap(call: Callable[[], object], clock: Callable[[], float] = time.monotonic) -> float:
    """Return the longest time (seconds of `clock`) that another thread waited for its turn while `call` ran.

    `time.process_time` counts only while this program runs, so that others on the machine do not matter.
    """
    longest, done = [0.0], threading.Event()

    def beat() -> None:
        last = clock()
        while not done.wait(0.002):
            longest[0], last = max(longest[0], clock() - last), clock()

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        call()
    finally:
        done.set()
        thread.join()
    return longest[0]
