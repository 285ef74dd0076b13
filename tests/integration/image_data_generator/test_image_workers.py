"""`ImageDataGenerator` with worker processes: the same batches at any number, Keras trains on them, all of them end."""

import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from support.images import encode, picture, write_images
from support.streams import gone, is_alive, until

from penstock import ImageDataGenerator
from penstock.protocol.errors import FailureBudgetError, PenstockError

pytestmark = [pytest.mark.integration, pytest.mark.slow]

WILD: dict[str, Any] = {
    "rotation_range": 30,
    "width_shift_range": 0.2,
    "zoom_range": 0.2,
    "channel_shift_range": 20.0,
    "brightness_range": (0.8, 1.2),
    "horizontal_flip": True,
    "rescale": 1 / 255,
}
SCRIPT = Path(__file__).resolve().parents[2] / "support" / "keras" / "script.py"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with `train` and `validation`, two classes each."""
    folder = tmp_path_factory.mktemp("photos")
    write_images(folder / "train", ("cat", "dog"), 22)
    write_images(folder / "validation", ("cat", "dog"), 11, seed=1)
    return folder


def processes() -> list[psutil.Process]:
    """Return the running children of this process."""
    return [child for child in psutil.Process().children(recursive=True) if is_alive(child)]


@pytest.fixture(autouse=True)
def nothing_is_left_over() -> Any:
    """Check that a test leaves no process behind."""
    before = set(processes())
    yield
    gc.collect()
    until(lambda: not set(processes()) - before, "the worker processes to be gone")


def from_folder(photos: Path, workers: int, **more: Any) -> Any:
    """Return an iterator over the training pictures."""
    options: dict[str, Any] = {"target_size": (40, 44), "batch_size": 8, "seed": 5, **more}
    return ImageDataGenerator(**WILD).flow_from_directory(photos / "train", workers=workers, **options)


def from_array(_: Path, workers: int, **more: Any) -> Any:
    """Return an iterator over pictures in memory."""
    images = np.stack([picture(index, index % 4, 30, 34) for index in range(44)])
    options: dict[str, Any] = {"batch_size": 8, "seed": 5, **more}
    return ImageDataGenerator(**WILD).flow(images, np.arange(44), workers=workers, **options)


@pytest.mark.parametrize(
    ("flow", "workers", "shuffle", "chunk"),
    [(from_folder, 2, True, 1), (from_array, 1, False, 4)],
    ids=["files, each batch by itself", "arrays, four batches in a piece"],
)
def test_any_number_of_workers_gives_the_same_batches(
    flow: Any,
    workers: int,
    shuffle: bool,  # noqa: FBT001
    chunk: int,
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Bit for bit, in the same order, beyond an epoch's end; by index and after a reset, too.

    An epoch has six batches, so that pieces of four do not divide it.
    """
    monkeypatch.setattr("penstock.image_data_generator.workers._CHUNK_BYTES", chunk * 8 * 30 * 34 * 3)
    with flow(photos, 0, shuffle=shuffle) as here, flow(photos, workers, shuffle=shuffle) as there:
        assert 6 == len(here)
        assert [0, workers] == [here.worker_processes, there.worker_processes]
        for turn in range(len(here) + 2):
            same([next(here), next(there)], f"turn {turn}")
        for index in (4, 1):
            same([here[index], there[index]], f"index {index}")
        here.reset()
        there.reset()
        same([next(here), next(there)], "after a reset")


def same(batches: list[Any], when: str) -> None:
    """Assert that all batches are equal to the bit."""
    for images, labels in batches[1:]:
        assert np.array_equal(batches[0][0], images), when
        assert np.array_equal(batches[0][1], labels), when


def test_one_small_picture_does_not_drown_the_stack() -> None:
    """An epoch of one task: the memory for images made ahead must not be filled with a million epochs of it."""
    image = picture(1, 0, 8, 8)[np.newaxis]
    with (
        ImageDataGenerator(rotation_range=40).flow(image, seed=1, workers=1) as there,
        ImageDataGenerator(rotation_range=40).flow(image, seed=1, workers=0) as here,
    ):
        for _ in range(300):
            assert np.array_equal(next(here), next(there))
        memory = [process.memory_info().rss for process in processes()]
    assert max(memory) < 300e6


def test_pictures_and_masks_stay_in_step_from_worker_to_worker(tmp_path: Path) -> None:
    """Two folders, one seed: turned, zoomed and mirrored alike, though only the pictures are darkened."""
    for name in ("pictures", "masks"):
        write_images(tmp_path / name, ("all",), 12, suffix=".png")
    geometry = {name: WILD[name] for name in ("rotation_range", "zoom_range", "width_shift_range", "horizontal_flip")}
    options: dict[str, Any] = {"class_mode": None, "target_size": (48, 64), "batch_size": 5, "seed": 4}
    dark, plain = ImageDataGenerator(**geometry, brightness_range=(0.5, 0.5)), ImageDataGenerator(**geometry)
    with (
        dark.flow_from_directory(tmp_path / "pictures", **options, workers=2) as pictures,
        plain.flow_from_directory(tmp_path / "masks", **options, workers=0) as masks,
    ):
        for _ in range(5):
            assert np.array_equal(next(masks) // 2, next(pictures))


def test_processes_start_with_the_first_batch_and_stop_with_the_iterator(photos: Path) -> None:
    """Making an iterator costs nothing; `close`, the end of a `with` block and forgetting it stop its processes."""
    before = len(processes())
    iterator = from_folder(photos, 2)
    assert before == len(processes())
    first = next(iterator)
    place = Path(iterator._parts.feeder._ledger).parent
    assert place.is_dir()
    assert before + 4 == len(processes())  # ventilator, sink, two workers
    iterator.close()
    assert before == len(processes())
    assert not place.exists()
    iterator.reset()
    assert not np.array_equal(first[0], next(iterator)[0])  # started again, in the next epoch
    del iterator
    gc.collect()
    until(lambda: before == len(processes()), "a forgotten iterator's processes to be gone")


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

    for process in processes():
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


def test_a_picture_that_cannot_be_read_ends_the_run_and_is_named(tmp_path: Path) -> None:
    """In the same words from a worker as from this process."""
    write_images(tmp_path, ("cat",), 6)
    (tmp_path / "cat" / "00003.jpg").write_bytes(b"\xff\xd8 no picture")
    said = []
    for workers in (0, 1):
        generator = ImageDataGenerator(**WILD)
        with (
            generator.flow_from_directory(tmp_path, (16, 16), batch_size=6, workers=workers) as iterator,
            pytest.raises(FailureBudgetError, match=f"^{tmp_path}/cat/00003.jpg: .*Repair the file") as caught,
        ):
            next(iterator)
        said.append(str(caught.value))
    assert said[0] == said[1]


def test_odd_names_come_from_workers_too(tmp_path: Path) -> None:
    """What cannot be printed, such as the narrow space in the names of macOS's screenshots, and what CSV quotes."""
    names = ["9.41.00\u202fAM", "no\u00a0break", "zero\u200bwidth", "tab\tand\nlines\r\n", '"a", b']
    (tmp_path / "a").mkdir()
    for number, name in enumerate(names):
        (tmp_path / "a" / f"{name}.png").write_bytes(encode(picture(number), "PNG"))
    options: dict[str, Any] = {"target_size": (24, 32), "seed": 1}
    generator = ImageDataGenerator(**WILD)
    with generator.flow_from_directory(tmp_path, **options, workers=1) as there:
        same([next(generator.flow_from_directory(tmp_path, **options, workers=0)), next(there)], "odd names")


def make_model() -> Any:
    """Return a small compiled model, always with the same weights."""
    keras = pytest.importorskip("keras", reason="NOT TESTED: Keras is not installed")
    keras.utils.set_random_seed(3)
    layers = [
        keras.Input((40, 44, 3)),
        keras.layers.Conv2D(4, 3, 2),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(2, activation="softmax"),
    ]
    model = keras.Sequential(layers)
    model.compile("sgd", "categorical_crossentropy", metrics=["accuracy"])
    return model


def test_keras_trains_alike_with_workers_and_without(photos: Path) -> None:
    """`fit` with validation, class weights, and a few steps an epoch; `evaluate`; `predict` in the files' order."""
    results = []
    for workers in (0, 2):
        model = make_model()
        generator = ImageDataGenerator(**WILD)
        with from_folder(photos, workers) as train:
            held_out = generator.flow_from_directory(
                photos / "validation", (40, 44), batch_size=8, shuffle=False, seed=1, workers=workers
            )
            history = model.fit(train, validation_data=held_out, epochs=2, verbose=0)
            history = [*history.history.values()]
            model.fit(train, epochs=3, steps_per_epoch=2, class_weight={0: 1.0, 1: 2.0}, verbose=0)
            scores = model.evaluate(held_out, verbose=0)
            predictions = model.predict(held_out, verbose=0)
            held_out.close()
        assert (22, 2) == predictions.shape
        results.append([*np.ravel(history), *scores, *predictions.ravel()])
    assert results[0] == results[1]


def test_every_epoch_of_fit_is_one_epoch_of_the_iterator() -> None:
    """Every sample once an epoch, the first epoch from the first batch on, though Keras shuffles what it asks for."""
    keras = pytest.importorskip("keras", reason="NOT TESTED: Keras is not installed")

    class Seen(keras.layers.Layer):  # type: ignore[misc,name-defined]
        """Notes what passes through."""

        batches: list[Any]

        def call(self, x: Any, training: bool = False) -> Any:  # noqa: FBT001, FBT002 - Keras's signature
            if training:
                self.batches.append(np.asarray(x)[:, 0])
            return x

    seen = Seen()
    seen.batches = []
    model = keras.Sequential([keras.Input((1,)), seen, keras.layers.Dense(1)])
    model.compile("sgd", "mse", run_eagerly=True)
    images = np.zeros((44, 4, 4, 1), np.uint8)

    given = (images, np.arange(44.0))
    iterator, expected = (ImageDataGenerator().flow(given, np.zeros(44), batch_size=8, seed=2) for _ in range(2))

    class Numbers(keras.utils.PyDataset):  # type: ignore[misc,name-defined]
        """Passes all that Keras asks for on, and only the numbers back."""

        def __getitem__(self, index: int) -> Any:
            (_, numbers), labels = iterator[index]
            return numbers[:, np.newaxis], labels

        @property
        def num_batches(self) -> int:
            return int(iterator.num_batches)

        def on_epoch_end(self) -> None:
            iterator.on_epoch_end()

    model.fit(Numbers(), epochs=3, verbose=0)
    numbers = np.concatenate(seen.batches)
    assert 3 * 44 == len(numbers)
    assert np.array_equal(np.concatenate([next(expected)[0][1] for _ in range(18)]), numbers)


def test_an_exception_in_fit_leaves_no_process_behind(photos: Path) -> None:
    """A callback raises; the iterator is forgotten, and its processes go."""
    keras = pytest.importorskip("keras", reason="NOT TESTED: Keras is not installed")

    class Fails(keras.callbacks.Callback):  # type: ignore[misc,name-defined]
        """Raises in the second batch."""

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            del logs
            if batch == 1:
                raise ArithmeticError("no more")

    with pytest.raises(ArithmeticError), from_folder(photos, 2) as iterator:
        make_model().fit(iterator, epochs=2, verbose=0, callbacks=[Fails()])


def start(code: str, place: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a program in a process group of its own, as a shell does; its temporary files go to `place`."""
    command = [sys.executable, "-c", textwrap.dedent(code), *arguments]
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
    script.communicate(timeout=60)
    gone(children)
    assert script.returncode == {"end": 0, "raise": 1, "wait": -(number or 0)}[how]
    left = [path for path in Path(place).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in left) < 100_000, left
    assert number in (signal.SIGTERM, signal.SIGKILL) or not left


def test_an_old_script_runs_after_changing_its_import(photos: Path, tmp_path: Path) -> None:
    """As it is with Keras's class, and with ours: both find the same classes, files, labels, statistics and shapes."""
    old = "from tensorflow.keras.preprocessing.image import ImageDataGenerator\n"
    text = SCRIPT.read_text(encoding="utf-8")
    assert 1 == text.count(old)
    scripts = {}
    for name, new in (("old", old), ("new", "from penstock import ImageDataGenerator\n")):
        (tmp_path / f"{name}.py").write_text(text.replace(old, new), encoding="utf-8")
        command = [sys.executable, str(tmp_path / f"{name}.py"), str(photos), str(tmp_path / f"{name}.json")]
        scripts[name] = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    reports = []
    for name, script in scripts.items():
        said, errors = script.communicate(timeout=300)
        assert 0 == script.returncode, said + errors
        reports.append((json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8")), said))
    assert reports[0] == reports[1]
