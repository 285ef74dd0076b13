"""Worker processes start with the first batch, and end with the iterator, the script or its error."""

import gc
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
from pathlib import Path

import numpy as np
import psutil
import pytest
from support.keras.worker_flows import from_folder
from support.streams import gone, services, until

from penstock import ImageDataGenerator
from penstock.protocol.errors import PenstockError

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.usefixtures("nothing_is_left_over")]


def test_processes_start_with_the_first_batch_and_stop_with_the_iterator(photos: Path) -> None:
    """Making an iterator costs nothing; `close`, the end of a `with` block and forgetting it stop its processes."""
    before = len(services())
    iterator = from_folder(photos, 2)
    assert before == len(services())
    first = next(iterator)
    place = Path(iterator._parts.feeder._ledger).parent
    assert place.is_dir()
    assert before + 4 == len(services())  # ventilator, sink, two workers
    iterator.close()
    assert before == len(services())
    assert not place.exists()
    iterator.reset()
    assert not np.array_equal(first[0], next(iterator)[0])  # started again, in the next epoch
    del iterator
    gc.collect()
    until(lambda: before == len(services()), "a forgotten iterator's processes to be gone")


def test_closing_ends_a_wait_in_another_thread(photos: Path) -> None:
    """Keras asks for batches in threads of its own: `close` must not wait for a batch that they wait for."""
    iterator = from_folder(photos, 1)
    next(iterator)
    errors: list[BaseException] = []

    def wait() -> None:
        with iterator.lock:
            try:
                iterator._parts.feeder.batch(50, 0)
            except PenstockError as error:
                errors.append(error)

    for process in services():
        if "penstock.worker" in process.cmdline():
            process.suspend()
    thread = threading.Thread(target=wait)
    thread.start()
    until(lambda: iterator._parts.feeder._next is None, "the thread to ask the workers")  # else it starts others
    iterator.close()
    thread.join(60)
    assert not thread.is_alive()
    assert 1 == len(errors)


def test_few_images_start_no_processes_unless_asked_for() -> None:
    """One picture, changed a few times, is what many tutorials show: it must not wait for processes."""
    generator = ImageDataGenerator(rotation_range=40)
    few, many = np.zeros((1, 8, 8, 3), np.uint8), np.zeros((300, 8, 8, 3), np.uint8)
    many[:, 4] = 200
    few[:, 4] = 200
    assert 0 == generator.flow(few).worker_processes
    assert len(os.sched_getaffinity(0)) == generator.flow(many).worker_processes
    assert 0 == generator.flow(many, workers=0).worker_processes
    assert 0 == ImageDataGenerator(rotation_range=40, workers=0).flow(many).worker_processes
    assert 3 == ImageDataGenerator(rotation_range=40, workers=3).flow(few).worker_processes


def start(code: str, place: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a program in a process group of its own, as a shell does; its temporary files go to `place`."""
    command = [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(code), *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command,
        stdout=pipe,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "TMPDIR": place},
    )


LOOPS = """
    import sys
    sys.modules["keras"] = None  # as if it were not installed: importing it takes seconds
    from penstock import ImageDataGenerator
    train = ImageDataGenerator(rotation_range=9).flow_from_directory(sys.argv[1], (40, 44), batch_size=8, workers=1)
    for turn, batch in enumerate(train):
        if turn == 2:
            print("training", flush=True)
            if sys.argv[2] != "wait":
                break
    if sys.argv[2] == "raise":
        raise ArithmeticError("no more")
"""

HOLDS = """
    import sys
    sys.modules["keras"] = None
    import numpy as np
    from penstock import ImageDataGenerator
    images = np.random.default_rng(1).integers(0, 256, (400, 64, 64, 3), np.uint8)
    for _ in ImageDataGenerator(rotation_range=9).flow(images, workers=1):
        print("training", flush=True)
"""

FITS = """
    import os, sys
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import keras
    from penstock import ImageDataGenerator
    train = ImageDataGenerator(rotation_range=9).flow_from_directory(sys.argv[1], (40, 44), batch_size=8, workers=2)
    model = keras.Sequential([keras.Input((40, 44, 3)), keras.layers.Flatten(), keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    class Tells(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                print("training", flush=True)
    model.fit(train, epochs=100_000, verbose=0, callbacks=[Tells()])
"""


@pytest.mark.parametrize(
    ("code", "how", "number"),
    [
        (LOOPS, "end", None),
        (LOOPS, "raise", None),
        (LOOPS, "wait", signal.SIGTERM),
        (LOOPS, "wait", signal.SIGKILL),
        (HOLDS, "wait", signal.SIGKILL),
        (FITS, "wait", signal.SIGINT),
    ],
    ids=["end", "raise", "terminated", "killed", "killed with arrays", "interrupted in fit"],
)
def test_a_script_leaves_no_process_behind(
    request: pytest.FixtureRequest, photos: Path, code: str, how: str, number: signal.Signals | None
) -> None:
    """It never closes anything: it ends, raises, or is terminated, killed or interrupted while it trains.

    A folder of a few small files is all that may stay on disk: no images.
    """
    place = tempfile.mkdtemp()  # short, as the names of sockets must be
    request.addfinalizer(lambda: shutil.rmtree(place))
    script = start(code, place, str(photos / "train"), how)
    assert script.stdout is not None
    said = []
    for line in script.stdout:
        said.append(line)
        if line == "training\n":
            break
    assert ["training\n"] == said[-1:], "".join(said)
    children = psutil.Process(script.pid).children(recursive=True)
    if number is signal.SIGINT:
        assert len(children) >= 4
        os.killpg(script.pid, number)  # a terminal's Ctrl-C reaches the whole group
    elif number is not None:
        script.send_signal(number)
    rest, _ = script.communicate(timeout=60)
    gone(children)
    expected = {"end": 0, "raise": 1, "wait": -(number or 0)}[how]
    assert expected == script.returncode, rest  # with the stacks, if TensorFlow crashed: it did once in a hundred runs
    left = [path for path in Path(place).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in left) < 100_000, left
    assert number in (signal.SIGTERM, signal.SIGKILL) or not left
