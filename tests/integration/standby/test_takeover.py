"""Two ventilators of real processes: one acts, the other one takes over by itself, and no byte changes."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from support.services.running import PENSTOCK, running
from support.streams import OPTIONS, Batch, digest, epochs, make_images, make_spec, run_stack, take, until

import penstock
from penstock.launcher.stack import LocalStack
from penstock.observe.status_client import Onlooker
from penstock.protocol.errors import DeadlineError
from penstock.protocol.transport.own_sockets import OWN_VENTILATOR, resolve_each

pytestmark = pytest.mark.integration

NAMES = ("ventilator", "ventilator-1")


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """Return a spec over 2 × 60 JPEG files, whose small window keeps the whole pipeline needed to the end."""
    return make_spec(make_images(tmp_path_factory.mktemp("photos"), each=60))


@pytest.fixture(scope="module")
def reference(spec: dict[str, object]) -> list[Batch]:
    """Return two epochs that nothing disturbed, of a stack with one ventilator."""
    with run_stack(spec, workers=2) as stack:
        return epochs(stack.feed(), 2)


@contextmanager
def run_two(spec: dict[str, object], run_dir: Path, sinks: int = 1) -> Generator[LocalStack]:
    """Run a stack with a standby, until one of its ventilators acts and knows of the other one."""
    options = {name: dict(values) for name, values in OPTIONS.items()}
    with LocalStack(spec, workers=2, sinks=sinks, standby=True, run_dir=run_dir, options=options) as stack:
        until(
            lambda: (seen := stack.snapshot().standby) is not None and seen.acting and seen.is_watched,
            "both to be there",
        )
        yield stack


def acting(stack: LocalStack) -> list[str]:
    """Return the ventilators that say that they act."""
    status = stack.status()
    return [name for name in NAMES if name in status and status[name].get("acting")]


def one_that_acts(stack: LocalStack) -> str:
    """Return the only ventilator that says that it acts; one that gets no processor says so late."""
    [name] = until(lambda: acting(stack), "one to act")
    return name


def lines(stack: LocalStack, name: str, event: str) -> list[dict[str, object]]:
    """Return the lines of a ventilator's log about an event."""
    log = (stack.run_dir / f"{name}.log").read_text(encoding="utf-8")
    found = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    return [line for line in found if line["event"] == event]


def taken_over(stack: LocalStack, other: str, since: float, what: str) -> None:
    """Wait until the other one acts; print how long that took. Whoever reads with a deadline waits no longer."""
    [*_, line] = until(lambda: lines(stack, other, "acting"), "the other ventilator to act")
    took_s = float(str(line["monotonic_s"])) - since
    print(f"{what}: taken over after {took_s:.1f} s")  # noqa: T201 - for people: pytest -s
    assert 0 < took_s < 30, "with a deadline of ten seconds, on a machine that is three times too slow"


@pytest.mark.parametrize("sinks", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_killed_ventilator_is_succeeded(
    sinks: int, spec: dict[str, object], reference: list[Batch], tmp_path: Path
) -> None:
    """By the other one, though it is not started again; the trainer gets the same bytes, once and in order."""
    with run_two(spec, tmp_path / "run", sinks) as stack:
        feed = stack.feed()
        got = take(feed, 5)
        first = one_that_acts(stack)
        [other] = set(NAMES) - {first}
        stack.children[first].given_up = True
        since = time.monotonic()
        stack.children[first].process.kill()
        got += take(feed, len(reference) - 5)
        taken_over(stack, other, since, f"kill -9, {sinks} sinks")
        with Onlooker(f"{stack.addresses.ventilator},{stack.addresses.standby}") as onlooker:

            def alone() -> bool:
                """Return whether one acts that knows of no other: on a busy machine it may stop for a moment."""
                seen = onlooker.look().standby
                return bool(seen and seen.acting and not seen.is_watched and "none is on standby" in seen.sentence)

            until(alone, "the other one to say that none is on standby")
    assert digest(reference) == digest(got)


@pytest.mark.slow
def test_a_stopped_ventilator_that_goes_on_changes_nothing(
    spec: dict[str, object], reference: list[Batch], tmp_path: Path
) -> None:
    """It may be stopped anywhere; when it goes on, another one acts, and nothing that it sends is taken in."""
    with run_two(spec, tmp_path / "run") as stack:
        feed = stack.feed()
        got = take(feed, 5)
        first = one_that_acts(stack)
        [other] = set(NAMES) - {first}
        since = time.monotonic()
        stack.children[first].process.send_signal(signal.SIGSTOP)
        try:
            got += take(feed, 20)
            taken_over(stack, other, since, "SIGSTOP")
        finally:
            stack.children[first].process.send_signal(signal.SIGCONT)
        got += take(feed, len(reference) - 25)
        until(lambda: lines(stack, first, "acting no more"), "the one that was stopped to notice")
        until(lambda: acting(stack) == [other], "only the other one to act")
    assert digest(reference) == digest(got)


@pytest.mark.slow
def test_without_the_folder_none_acts_and_with_it_one_goes_on(
    spec: dict[str, object], reference: list[Batch], tmp_path: Path
) -> None:
    """One that cannot renew its record stops, as the other one might act; no sample is lost meanwhile."""
    with run_two(spec, tmp_path / "run") as stack:
        feed = stack.feed()
        got = take(feed, 5)
        (stack.run_dir / "standby").rename(tmp_path / "away")
        until(lambda: not acting(stack), "the one that acted to stop")
        (tmp_path / "away").rename(stack.run_dir / "standby")
        got += take(feed, len(reference) - 5)
        one_that_acts(stack)
    assert digest(reference) == digest(got)


def test_a_ventilator_that_is_asked_to_stop_makes_no_one_wait(
    spec: dict[str, object], reference: list[Batch], tmp_path: Path
) -> None:
    """It says that it leaves, so that the other one acts at once."""
    with run_two(spec, tmp_path / "run") as stack:
        feed = stack.feed()
        got = take(feed, 5)
        first = one_that_acts(stack)
        [other] = set(NAMES) - {first}
        stack.children[first].given_up = True
        since = time.monotonic()
        stack.children[first].process.terminate()
        taken_over(stack, other, since, "SIGTERM")
        got += take(feed, len(reference) - 5)
    assert digest(reference) == digest(got)


@pytest.mark.slow
def test_a_laptops_stack_outlives_its_ventilators(
    spec: dict[str, object], reference: list[Batch], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`penstock up --standby`, and whichever acts is killed, twice: the killed one comes back and waits for its turn.

    `penstock status` finds both without an address, and says who acts and that the other one is there.
    """
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "500")  # of the status: a folder's name is not broken
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    command = [
        PENSTOCK,
        "up",
        str(tmp_path / "spec.json"),
        "--standby",
        "--workers",
        "2",
        "--run-dir",
        str(tmp_path / "run"),
    ]
    with running(command) as [process], penstock.connect() as feed:

        def watched() -> str:
            """Return who acts, if another one would take over; nobody while none has begun to answer."""
            with suppress(DeadlineError), Onlooker(resolve_each(OWN_VENTILATOR)) as onlooker:
                seen = onlooker.look().standby
                return seen.holder if seen and seen.acting and seen.is_watched else ""
            return ""

        def succeeded() -> str:
            """Return who acts, once that is another one."""
            return found if (found := watched()) != acts else ""

        acts = until(watched, "both to be there")
        got = take(feed, 5)
        for _ in range(2):
            host_and_pid, _, address = acts.partition(" at ")
            os.kill(int(host_and_pid.partition("/")[2]), signal.SIGKILL)
            got += take(feed, 15)
            acts = until(succeeded, f"another one than {address} to act, and to be watched")

        def is_told() -> bool:
            """Return whether the status names both: one that gets no processor may stop to act, or to wait."""
            command = [PENSTOCK, "status", "--once"]
            said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout
            return bool(re.search(r"Ventilator \S+ at \S+ acts, term .*; on standby: ", " ".join(said.split())))

        until(is_told, "the status to name both")
        got += take(feed, len(reference) - len(got))
        process.send_signal(signal.SIGINT)
        assert 0 == process.wait(60)
    assert digest(reference) == digest(got)


@pytest.mark.slow
def test_a_programs_own_stack_has_a_standby(tmp_path: Path, spec: dict[str, object], reference: list[Batch]) -> None:
    """`penstock.local(standby=True)`: kill -9 of the one that acts costs nothing, and each has a page."""
    with penstock.local(spec, workers=2, standby=True, run_dir=tmp_path / "run", dashboard="127.0.0.1:0") as stack:
        assert 2 == len(set(stack.dashboards))
        assert stack.dashboard == stack.dashboards[0]

        def watched() -> str:
            """Return who acts, if another one would take over."""
            seen = stack.snapshot().standby
            return seen.holder if seen and seen.acting and seen.is_watched else ""

        killed = until(watched, "both to be there")
        feed = stack.feed()
        got = take(feed, 5)
        first = one_that_acts(stack)
        stack.children[first].process.kill()
        got += take(feed, len(reference) - 5)
        # The killed one is started again, and may be the first to find that none acts: it is another one then.
        until(lambda: watched() not in ("", killed), "another one to act, and one more to wait for its turn")
        until(lambda: len(acting(stack)) == 1, "one to act alone")
    assert digest(reference) == digest(got)
