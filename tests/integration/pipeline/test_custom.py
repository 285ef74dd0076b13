"""Custom transforms in real workers: from a package that pip installed to batches, a ledger, or words."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.streams import digest, epochs, make_images, make_spec, make_stream, run_stack
from support.transforms import install, write_package

from penstock.commands.check import main as check
from penstock.commands.preview import main as preview
from penstock.protocol.errors import StackError, TransformError

pytestmark = pytest.mark.integration

IMAGES = 12


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the package `probe` 2.1 installed."""
    folder = tmp_path_factory.mktemp("custom")
    return install(write_package(folder / "source"), folder / "target")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with images of two classes."""
    return make_images(tmp_path_factory.mktemp("photos"), each=IMAGES)


def make_custom(photos: Path, *custom: dict[str, Any], **stream: Any) -> dict[str, Any]:
    """Return a spec of random patches that these transforms change."""
    transform = {"patch": {"kind": "random", "height": 32, "width": 40}, "custom": list(custom)}
    return make_spec(photos, train=make_stream(transform=transform, **stream))


#: Transforms that break their contract, and what is said of them.
WRONG = {
    "twisted": "'twisted' returned image uint8(40, 32, 3); the schema says uint8(32, 40, 3)",
    "widened": "'widened' returned image float64(32, 40, 3); the schema says uint8(32, 40, 3)",
}
HALF = {
    "name": "half",
    "produces": {
        "image": {"dtype": "float32", "shape": [16, 20, 3]},
        "weight": {"dtype": "float32", "shape": []},
    },
}


def test_samples_of_custom_transforms_are_the_same_at_any_number_of_workers(
    photos: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random ones too, over two epochs; a field that one adds and an image of another shape reach the trainer."""
    monkeypatch.setenv("PYTHONPATH", str(target))
    spec = make_custom(photos, {"name": "dither", "version": "2.1", "parameters": {"levels": 20}}, HALF)
    digests = []
    for workers in (1, 2):
        with run_stack(spec, workers) as stack, stack.feed() as feed:
            batches = epochs(feed, 2)
        assert 2 * 2 * IMAGES * 3 == sum(len(batch["image"]) for batch in batches)
        assert ("float32", (16, 20, 3)) == (batches[0]["image"].dtype.name, batches[0]["image"].shape[1:])
        digests.append(digest(batches))
    weights = np.concatenate([batch["weight"] for batch in batches])
    assert len(weights) == len(np.unique(weights)), "every sample of every epoch draws for itself"
    assert digests[0] == digests[1]


def test_an_item_for_which_a_transform_raises_is_quarantined_with_its_words(
    photos: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger names the transform, the exception and what it said; all other items arrive."""
    monkeypatch.setenv("PYTHONPATH", str(target))
    spec = make_custom(photos, {"name": "moody", "parameters": {"every": 5}}, failure_budget=0.9)
    with run_stack(spec, 2) as stack, stack.feed() as feed:
        batches = epochs(feed, 1)
        account = feed.epochs[0]
        records = [json.loads(line) for line in stack.quarantine.read_text(encoding="utf-8").splitlines()]
    bad = {item for item in range(2 * IMAGES) if item % 5 == 0}
    assert bad == {record["item"] for record in records}
    for record in records:
        reason = f"custom transform 'moody' raised ValueError: item {record['item']} is not to my taste"
        assert reason == record["reason"]
    items = np.concatenate([batch["item"] for batch in batches])
    assert set(range(2 * IMAGES)) - bad == set(items.tolist())
    assert (3 * len(bad), 3 * (2 * IMAGES - len(bad))) == (account.quarantined, account.delivered)


def test_a_transform_that_returns_another_shape_or_type_stops_its_stream_in_words_that_say_both(
    photos: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, whatever the failure budget: it is no item's fault. Who comes later is told the same."""
    monkeypatch.setenv("PYTHONPATH", str(target))
    streams = {name: make_custom(photos, {"name": name}, failure_budget=1.0)["streams"]["train"] for name in WRONG}
    with run_stack(make_spec(photos, **streams), 2) as stack:
        for name in [*WRONG, *WRONG]:
            with stack.feed(name) as feed, pytest.raises(TransformError) as caught:
                epochs(feed, 1)
            assert WRONG[name] in str(caught.value)
            assert f"stream {name!r}" in str(caught.value)
        assert stack.error is None, "nothing died of it"


def test_a_worker_without_the_package_refuses_to_start_in_words(photos: Path) -> None:
    """It says what is missing and what to install; the first program to start the stack or train gets the error."""
    spec = make_custom(photos, {"name": "invert"})
    with pytest.raises(StackError) as caught, run_stack(spec, 1) as stack, stack.feed() as feed:
        epochs(feed, 1)
    for word in (
        "worker-0 cannot run",
        "transform.custom[0]",
        "no custom transform 'invert' is installed here",
        "install",
    ):
        assert word in str(caught.value)


def test_a_feed_that_is_made_after_the_stack_gave_up_fails_in_the_same_words(photos: Path) -> None:
    """A worker may refuse to run before the program has made its first feed."""
    with run_stack(make_custom(photos), 0) as stack:
        stack._gave_up("worker-0", "cannot run: so it says")
        with stack.feed() as feed, pytest.raises(StackError, match="worker-0 cannot run: so it says"):
            next(iter(feed))


def test_check_and_preview_refuse_what_is_not_installed_here(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the words that a worker would say."""
    (tmp_path / "spec.json").write_text(json.dumps(make_custom(photos, {"name": "invert"})), encoding="utf-8")
    for command in (check, preview):
        assert 2 == command([str(tmp_path / "spec.json")])
        assert "no custom transform 'invert' is installed here (installed: none)" in capsys.readouterr().err


def test_preview_stops_in_the_words_that_a_trainer_would_hear(
    photos: Path, tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A transform that breaks its contract makes no sheet of quarantined items."""
    monkeypatch.syspath_prepend(target)
    (tmp_path / "spec.json").write_text(json.dumps(make_custom(photos, {"name": "twisted"})), encoding="utf-8")
    assert 2 == preview([str(tmp_path / "spec.json"), "-o", str(tmp_path / "sheet.png")])
    assert "'twisted' returned image uint8(40, 32, 3); the schema says uint8(32, 40, 3)" in capsys.readouterr().err
    assert not (tmp_path / "sheet.png").exists()


def test_the_example_package_installs_and_makes_samples(
    root: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`examples/custom_transform`, as it stands: its spec passes the check and has pictures."""
    shutil.copytree(root / "examples" / "custom_transform", tmp_path / "example")
    monkeypatch.syspath_prepend(install(tmp_path / "example", tmp_path / "installed"))
    spec, where = str(tmp_path / "example" / "spec.toml"), f"photos={photos}"
    assert 0 == check([spec, "--root", where])
    assert "energy" in capsys.readouterr().out
    for stream in ("noisy", "spectra"):
        sheet = tmp_path / f"{stream}.png"
        assert 0 == preview([spec, "--root", where, "--stream", stream, "-o", str(sheet), "--count", "8"])
        with Image.open(sheet) as drawn:
            assert drawn.width > 4 * 128
