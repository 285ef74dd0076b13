"""Contact sheets and real stacks: what they show is what trainers get, and trainers do not notice."""

import json
import re
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.streams import Batch, digest, epochs, make_images, make_spec, make_stream, run_stack, until

from penstock.cli import main as penstock
from penstock.commands.preview import find_units, make_samples
from penstock.commands.view import ViewSettings, fetch_samples
from penstock.contact_sheet.samples import Sample
from penstock.launcher.stack import LocalStack
from penstock.protocol.errors import DeadlineError, RefusedError, StackError
from penstock.protocol.spec.spec import parse_spec
from penstock.ventilator.sources.catalog import Catalog
from penstock.worker.imaging.pipeline import Pipeline

pytestmark = pytest.mark.integration

IMAGES, PATCHES = 20, 3
SAMPLES = 2 * IMAGES * PATCHES


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return a spec that uses much at once: manipulated random patches in mix windows, flips, normalised to floats."""
    transform = {
        "patch": {"kind": "random", "height": 24, "width": 30},
        "manipulations": {"choices": [{"kind": "gamma", "value": 0.5}, {"kind": "jpeg", "value": 30}]},
        "augment": {"horizontal_flip": True},
        "normalize": {"rescale": 1 / 255},
    }
    photos = make_images(tmp_path_factory.mktemp("photos"), each=IMAGES)
    return make_spec(photos, train=make_stream(transform=transform, patches=PATCHES, window_mb=2.0))


def names(samples: Iterable[Sample]) -> dict[tuple[int, int, int], list[bytes]]:
    """Return the bytes of each sample's fields by epoch, item and patch."""
    return {
        (sample.position // SAMPLES, int(sample.fields["item"]), int(sample.fields["patch"])): [
            sample.fields[name].tobytes() for name in sorted(sample.fields)
        ]
        for sample in samples
    }


def delivered(batches: Iterable[Batch]) -> dict[tuple[int, int, int], list[bytes]]:
    """Return the same of whole epochs' batches."""
    found: dict[tuple[int, int, int], list[bytes]] = {}
    for batch in batches:
        for row, (item, patch) in enumerate(zip(batch["item"].tolist(), batch["patch"].tolist(), strict=True)):
            found[(len(found) // SAMPLES, item, patch)] = [batch[name][row].tobytes() for name in sorted(batch)]
    return found


def view(stack: LocalStack, count: int = 40, wait_s: float = 10.0) -> list[Sample]:
    """Return what `penstock view` would draw."""
    return fetch_samples(ViewSettings(address=stack.address, count=count, wait_s=wait_s))[1]


def test_preview_shows_the_bytes_that_trainers_get(spec: dict[str, Any]) -> None:
    """In the same order, two epochs of them."""
    with run_stack(spec, 2) as stack, stack.feed() as feed:
        expected = delivered(epochs(feed, 2))
    parsed = parse_spec(spec)
    book = Catalog.open(parsed, parsed.roots)
    [plan] = book.plans
    pipeline = Pipeline(plan, parsed.roots)
    units = find_units(book, plan, range(2 * SAMPLES))
    samples = [sample for task, places in units for sample in make_samples(pipeline, task, places)]
    shown = names(sorted(samples, key=lambda sample: sample.position))
    assert list(expected) == list(shown)
    assert expected == shown


def test_trainers_get_the_same_while_somebody_looks_again_and_again(spec: dict[str, Any]) -> None:
    """Every batch, in order; what the onlooker sees are samples of theirs, at their positions."""
    rounds = 6
    with run_stack(spec, 2) as stack, stack.feed() as feed:
        unseen = epochs(feed, rounds)
    seen: list[Sample] = []
    looks, done = 0, threading.Event()

    def keep_looking(stack: LocalStack) -> None:
        nonlocal looks
        while not done.is_set():
            try:
                found = view(stack, wait_s=1.0)
            except (DeadlineError, StackError):
                continue  # the trainer has not begun, or is done
            seen.extend(found)
            looks += len(found) == 40

    # A feed that takes little ahead leaves the sink a full window, to be looked at while the trainer rests.
    with run_stack(spec, 2) as stack, stack.feed(prefetch=1) as feed:
        onlooker = threading.Thread(target=keep_looking, args=(stack,))
        onlooker.start()
        try:
            batches = epochs(feed, 1)
            until(lambda: looks, "a first look")
            batches += epochs(feed, rounds - 1)
            until(lambda: looks > 1, "another look")
        finally:
            done.set()
            onlooker.join()
        until(lambda: 1 == stack.status()["sink"].get("trainers"), "onlookers to be no trainers")
    assert digest(unseen) == digest(batches)
    expected = delivered(batches)
    shown = {key: fields for key, fields in names(seen).items() if key[0] < rounds}
    assert len(shown) >= 40
    assert shown == {key: expected[key] for key in shown}


def test_view_waits_for_a_trainer_that_takes_its_time(spec: dict[str, Any]) -> None:
    """Full windows are seen again and again, page by page, and the next batch is still the next one."""
    with run_stack(spec, 1) as stack, stack.feed(prefetch=1) as feed:
        batches = iter(feed)
        first = next(batches)
        until(lambda: len(view(stack, count=500, wait_s=1.0)) > 40, "a window to fill")
        samples = view(stack, count=500)
        positions = [sample.position for sample in samples]
        assert sorted(set(positions)) == positions
        assert positions[0] > 0
        rest = [first, *batches, *epochs(feed, 5)]
    expected = delivered(rest)
    shown = {key: fields for key, fields in names(samples).items() if key in expected}
    assert len(shown) > 40
    assert shown == {key: expected[key] for key in shown}
    assert 6 * SAMPLES == sum(len(batch["item"]) for batch in rest)


def test_what_cannot_be_seen_is_said_in_words(spec: dict[str, Any], tmp_path: Path) -> None:
    """No trainer, no such stream, no sink."""
    with run_stack(spec, 1) as stack:

        def refused() -> str:
            try:
                view(stack, wait_s=1.0)
            except DeadlineError:
                return ""  # the sink is not there yet
            except StackError as error:
                return str(error)
            raise AssertionError("there was something to see")

        said = until(refused, "the sink to answer")
        assert re.search(r"no trainer reads stream 'train' at ipc://.*penstock preview", said)
        with pytest.raises(RefusedError, match=r"no stream 'test' here; there are: train"):
            fetch_samples(ViewSettings(address=stack.address, stream="test"))
    nowhere = f"ipc://{tmp_path}/nobody"
    with pytest.raises(DeadlineError, match=r"no samples of stream 'train' from ipc://.* within 0\.3 s: check that"):
        fetch_samples(ViewSettings(address=nowhere, wait_s=0.3))


def test_both_commands_write_their_sheets(
    spec: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the command line, as large as their samples need."""
    (tmp_path / "spec.json").write_text(json.dumps(spec), encoding="utf-8")
    preview, seen = tmp_path / "preview.png", tmp_path / "view.jpg"
    assert 0 == penstock(["preview", str(tmp_path / "spec.json"), "-o", str(preview), "--count", "12", "--epoch", "3"])
    with run_stack(spec, 1) as stack, stack.feed() as feed:
        next(iter(feed))
        until(lambda: 12 == len(view(stack, count=12, wait_s=1.0)), "so many samples to be there")
        assert 0 == penstock(["view", stack.address, "--output", str(seen), "--count", "12"])
    assert [str(preview), str(seen)] == [line.split(": ")[0] for line in capsys.readouterr().out.splitlines()]
    sizes = []
    for path in (preview, seen):
        with Image.open(path) as sheet:
            sizes.append(sheet.size)
    assert abs(sizes[0][1] - sizes[1][1]) < 20
