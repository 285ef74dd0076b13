"""What the dashboard costs the ventilator: tasks a second without it, with it unseen, and with pages open.

The three take turns, so that whatever else the machine does falls on all of them alike.
"""

import socket
import statistics
import sys
import threading
from collections.abc import Generator
from contextlib import ExitStack, contextmanager

from dispatch import measure

#: Workers and slots of each; seconds of one measurement.
WORKERS, SLOTS, SECONDS = 50, 4, 5.0
#: Pages that are open at once.
PAGES = 4


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def page(port: int) -> Generator[None]:
    """Keep a page open: read its events, and connect again when they end."""
    over = threading.Event()

    def read() -> None:
        while not over.wait(0.1):
            try:
                with socket.create_connection(("127.0.0.1", port), 1.0) as connection:
                    connection.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    while not over.is_set() and connection.recv(1 << 20):
                        pass
            except OSError:  # not there yet, or nothing came for a second
                continue

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield
    finally:
        over.set()
        reader.join()


def run(pages: int | None) -> float:
    """Return tasks a second with so many pages; None: without a dashboard."""
    if pages is None:
        return measure(WORKERS, SLOTS, SECONDS)
    port = free_port()
    with ExitStack() as cleanup:
        for _ in range(pages):
            cleanup.enter_context(page(port))
        return measure(WORKERS, SLOTS, SECONDS, "--dashboard", f"127.0.0.1:{port}")


def main() -> None:
    """Measure in turns and print medians, and each turn's ratio to the one without."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    cases: dict[str, int | None] = {"no dashboard": None, "unseen": 0, f"{PAGES} pages": PAGES}
    rates: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, pages in cases.items():
            rates[name].append(run(pages))
    for name, found in rates.items():
        ratios = [rate / base for rate, base in zip(found, rates["no dashboard"], strict=True)]
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        print(f"{name:>14}: {statistics.median(found):8,.0f} tasks/s, {statistics.median(ratios):.2f} ({spread})")


if __name__ == "__main__":
    main()
