"""`penstock demo` with real processes: it learns, it accounts for every sample, an interrupt leaves nothing behind."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from support.streams import make_images, until

pytestmark = [pytest.mark.integration, pytest.mark.slow]

#: Longest that everything may take to be gone after an interrupt (s): a stack gives its processes 3 s before it kills
#: them, and a busy machine keeps each from its turn for a while. A demo that was not interrupted goes on for longer.
GONE_S = 60.0
#: A demo that is not through before the test has interrupted or killed it.
LONG = ("--quick", "--epochs", "100000")
#: Longest that a demo may take to reach a moment (s): TensorFlow's import on a busy machine.
REACHED_S = 300.0


class Demo:
    """A running demo in a session of its own, as a terminal would run it, with its own folder for temporary files."""

    def __init__(self, folder: Path, *options: str) -> None:
        """Start it; what it says goes to a file."""
        self.folder = folder
        self.said = folder / "said"
        self.temporary = folder / "t"
        self.temporary.mkdir()
        command = [sys.executable, "-m", "penstock", "demo", *options]
        with self.said.open("wb") as output:
            environment = os.environ | {"TMPDIR": str(self.temporary)}
            self.process = subprocess.Popen(
                command, stdout=output, stderr=output, env=environment, start_new_session=True
            )

    def output(self) -> str:
        """Return what it said so far."""
        return self.said.read_text(encoding="utf-8")

    def relatives(self) -> list[psutil.Process]:
        """Return every process that it started, whatever their parent is by now."""
        found = []
        for process in psutil.process_iter():
            try:
                # A forked service writes its command line over the environment that the kernel shows.
                words = [process.environ().get("TMPDIR", ""), *process.cmdline()]
                ours = any(str(self.temporary) in word for word in words)
                if ours and process.status() != "zombie":
                    found.append(process)
            except psutil.Error:
                continue  # gone meanwhile, or another user's
        return found

    def running(self, module: str) -> list[psutil.Process]:
        """Return those of its processes that run `python -m module`."""
        found = []
        for process in self.relatives():
            with suppress(psutil.Error):  # gone meanwhile
                if module in process.cmdline():
                    found.append(process)
        return found

    def files(self, pattern: str) -> bool:
        """Return whether a temporary file matches."""
        return any(self.temporary.rglob(pattern))

    def trains(self) -> bool:
        """Return whether it has trained for an epoch."""
        return re.search(r"epoch 1/\d+:", self.output()) is not None

    def interrupt(self) -> None:
        """Press Ctrl-C: the signal goes to the whole process group in the foreground."""
        os.killpg(self.process.pid, signal.SIGINT)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder with a path short enough for Unix sockets."""
    path = Path(tempfile.mkdtemp(prefix="pd-", dir="/tmp"))
    yield path
    shutil.rmtree(path)


def test_a_demo_learns_and_accounts_for_every_sample(folder: Path) -> None:
    """What `make demo` shows: accuracy clearly above chance on held-out images, a verdict, and sums that add up."""
    demo = Demo(folder)
    assert 0 == demo.process.wait(600), demo.output()
    output = demo.output()
    found = re.search(r"accuracy\s+([\d.]+)% of 160 held-out images; chance is 25%", output)
    assert found, output
    assert float(found[1]) > 50.0
    assert re.search(r"verdict\s+(trainer|worker|read|sink)-bound: ", output)
    for epoch in (1, 2, 3):
        assert re.search(rf"train +{epoch} +1,920 +0 +0 +1,920 +yes", output)
        assert re.search(rf"validation +{epoch} +160 +0 +0 +160 +yes", output)
    assert "Traceback" not in output
    assert [] == [*demo.temporary.iterdir()]
    until(lambda: not demo.relatives(), "every process to be gone")


MOMENTS: dict[str, Callable[[Demo], bool]] = {
    "TensorFlow's import": lambda demo: bool(demo.running("penstock.demo.training")),
    "the set being made": lambda demo: demo.files("*.jpg"),
    "the stack's start": lambda demo: bool(demo.running("penstock.ventilator")),
    "the trainer's first wait": lambda demo: "pipeline" in demo.output(),
    "training": lambda demo: demo.trains(),
    "the summary": lambda demo: "verdict" in demo.output(),
}


@pytest.mark.parametrize(
    ("moment", "times"),
    [
        *((moment, 1) for moment in MOMENTS if moment != "the summary"),
        ("the stack's start", 3),
        pytest.param("the summary", 1, marks=pytest.mark.long),
        pytest.param("training", 3, marks=pytest.mark.long),
    ],
)
def test_an_interrupt_at_any_moment_leaves_nothing_behind(folder: Path, moment: str, times: int) -> None:
    """At once: no process, no socket file, no temporary folder, no traceback; exit status 130."""
    demo = Demo(folder, *(LONG if moment != "the summary" else ("--quick",)))
    until(lambda: MOMENTS[moment](demo) or demo.process.poll() is not None, moment, REACHED_S)
    for _ in range(times):
        if demo.process.poll() is None:
            demo.interrupt()
    status = demo.process.wait(GONE_S)
    until(lambda: not demo.relatives(), f"every process to be gone, not {demo.relatives()}", GONE_S)
    assert [] == [*demo.temporary.iterdir()]
    assert "Traceback" not in demo.output()
    if moment != "the summary" or status != 0:  # it may have been through with everything
        assert (130, True) == (status, "interrupted: everything is stopped" in demo.output())


def test_a_demo_that_is_killed_takes_its_processes_along(folder: Path) -> None:
    """Services and trainer notice that the process that started them is gone."""
    demo = Demo(folder, *LONG)
    until(lambda: demo.trains() or demo.process.poll() is not None, "training", REACHED_S)
    demo.process.kill()
    demo.process.wait(REACHED_S)
    until(lambda: not demo.relatives(), "every process to be gone")


def test_a_trainer_that_dies_ends_the_demo_in_words(folder: Path) -> None:
    """The message says what happened; everything else is stopped in order."""
    demo = Demo(folder, *LONG)
    until(lambda: demo.trains() or demo.process.poll() is not None, "training", REACHED_S)
    [trainer] = demo.running("penstock.demo.training")
    trainer.kill()
    assert 2 == demo.process.wait(REACHED_S)
    assert "the training process ended with status -9" in demo.output()
    assert "Traceback" not in demo.output()
    assert [] == [*demo.temporary.iterdir()]
    until(lambda: not demo.relatives(), "every process to be gone")


def test_your_own_images_are_split_and_bad_ones_are_named(folder: Path) -> None:
    """`--data`: a fifth of each class is held out, and a file that is no image is quarantined and shown."""
    data = make_images(folder / "data", each=40, size=96)
    (data / "cat" / "0007.jpg").write_bytes(b"not an image")
    demo = Demo(folder, "--data", str(data), "--epochs", "1")
    assert 0 == demo.process.wait(600), demo.output()
    output = demo.output()
    counts = [
        [int(count) for count in re.findall(r"\d+", line)][1:]
        for line in output.splitlines()
        if re.match(r"(train|validation) +1 ", line)
    ]
    assert [(64 * 4, 256), (16, 16)] == [(sum(line[:3]), line[3]) for line in counts]
    assert 1 == sum(line[1] > 0 for line in counts)
    assert "cat/0007.jpg" in output
    assert data.is_dir()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--data", "/nowhere/at/all"], "no folder /nowhere/at/all"),
        (["--epochs", "0"], "--epochs '0'"),
    ],
)
def test_wrong_usage_is_an_error_in_words(folder: Path, options: list[str], words: str) -> None:
    """Exit status 2, one message, nothing left behind."""
    demo = Demo(folder, *options)
    assert 2 == demo.process.wait(REACHED_S)
    assert words in demo.output()
    assert "Traceback" not in demo.output()
    assert [] == [*demo.temporary.iterdir()]
    until(lambda: not demo.relatives(), "every process to be gone")


def test_a_missing_tensorflow_is_an_error_that_names_the_extra() -> None:
    """Before anything is started."""
    program = "import sys; sys.modules['tensorflow'] = None\nfrom penstock.demo.command import main\nsys.exit(main([]))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert 2 == done.returncode
    assert "pip install 'penstock[tf-cpu]'" in done.stderr
    assert "Traceback" not in done.stderr
