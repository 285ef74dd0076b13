"""Custom transforms: found by name among installed packages, called with their parameters, held to the schema."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.imaging.custom_schema import SCHEMA
from support.transforms import install, write_package

from penstock.protocol.errors import ItemError, SpecError, TransformError
from penstock.protocol.order import DRAW_CUSTOM, sample_generator
from penstock.protocol.spec.custom import Custom
from penstock.protocol.wire import Array
from penstock.worker.imaging.custom import CustomTransforms

SEED = 5
EPOCH = 3


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the package `probe` 2.1 installed."""
    folder = tmp_path_factory.mktemp("custom")
    return install(write_package(folder / "source"), folder / "target")


@pytest.fixture
def _installed(target: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(target)
    yield
    monkeypatch.undo()


def make(*customs: dict[str, Any]) -> CustomTransforms:
    """Return the transforms of a stream called `train`."""
    return CustomTransforms("train", [Custom.model_validate(custom) for custom in customs], SCHEMA, SEED)


def make_task(items: int, patches: int) -> list[Array]:
    """Return the samples of items 10, 11 and so on, all different."""
    samples = items * patches
    images = np.random.default_rng(1).integers(0, 256, (samples, 4, 6, 3), np.uint8)
    item = np.repeat(np.arange(10, 10 + items), patches).astype(np.int64)
    return [images, (item % 2).astype(np.int32), item, np.tile(np.arange(patches, dtype=np.int32), items)]


def run(transforms: CustomTransforms, made: list[Array], patches: int = 1) -> tuple[list[Array], dict[int, Any]]:
    """Return what the transforms make in memory of its own, and what failed."""
    out: list[Array] = [np.zeros((len(made[0]), *field.shape), field.dtype) for field in transforms.schema]
    failed = transforms.run(EPOCH, made, patches, out)
    alive = len(made[0]) - patches * len(failed)
    return [array[:alive] for array in out], failed


@pytest.mark.usefixtures("_installed")
def test_a_transform_gets_each_sample_and_its_parameters() -> None:
    """It may change the arrays that it gets; the other fields stay as they are."""
    made = make_task(3, 2)
    before = [array.copy() for array in made]
    after, failed = run(make({"name": "invert", "parameters": {"top": 250}}), made, 2)
    assert {} == failed
    np.testing.assert_array_equal((250 - before[0].astype(int)).astype(np.uint8), after[0])
    for index in (1, 2, 3):
        np.testing.assert_array_equal(before[index], after[index])


@pytest.mark.usefixtures("_installed")
def test_each_sample_draws_from_a_generator_of_its_own() -> None:
    """Whatever the task, a sample's draws are those of (seed, epoch, item, patch), apart from its other changes."""
    made = make_task(4, 2)
    whole = [array.copy() for array in made]
    after, _ = run(make({"name": "dither", "parameters": {"levels": 9}}), made, 2)
    for row in range(8):
        rng = sample_generator(SEED, EPOCH, 10 + row // 2, row % 2, DRAW_CUSTOM)
        noise = rng.integers(-9, 10, (4, 6, 3))
        np.testing.assert_array_equal(np.clip(whole[0][row] + noise, 0, 255).astype(np.uint8), after[0][row])


@pytest.mark.usefixtures("_installed")
def test_transforms_run_in_the_order_of_the_spec_and_share_a_samples_generator() -> None:
    """The second one goes on drawing where the first one stopped."""
    made = make_task(1, 1)
    image = made[0][0].copy()
    steps: list[dict[str, Any]] = [{"name": "dither", "parameters": {"levels": 5}}, {"name": "invert"}]
    after, _ = run(make(*steps, steps[0]), made)
    rng = sample_generator(SEED, EPOCH, 10, 0, DRAW_CUSTOM)
    first = np.clip(image + rng.integers(-5, 6, image.shape), 0, 255)
    second = np.clip(255 - first + rng.integers(-5, 6, image.shape), 0, 255)
    np.testing.assert_array_equal(second.astype(np.uint8), after[0][0])


@pytest.mark.usefixtures("_installed")
def test_the_spec_may_say_that_a_transform_returns_another_image_and_adds_a_field() -> None:
    """The schema then has both, in every process, installed or not."""
    produces = {"image": {"dtype": "float32", "shape": [2, 3, 3]}, "weight": {"dtype": "float32", "shape": []}}
    transforms = make({"name": "half", "produces": produces})
    assert ["image", "label", "item", "patch", "weight"] == [field.name for field in transforms.schema]
    made = make_task(2, 1)
    after, failed = run(transforms, made)
    assert {} == failed
    np.testing.assert_array_equal(made[0][:, ::2, ::2].astype(np.float32) / 255, after[0])
    expected = [sample_generator(SEED, EPOCH, item, 0, DRAW_CUSTOM).random() for item in (10, 11)]
    np.testing.assert_array_equal(np.array(expected, np.float32), after[4])


@pytest.mark.usefixtures("_installed")
def test_an_item_for_which_a_transform_raises_fails_with_its_words_and_leaves_no_hole() -> None:
    """Type, message and the transform's name stand in the reason; the other items' samples stand together, in place."""
    made = make_task(7, 2)  # items 10 to 16, of which 12 and 15 are not to its taste
    before = [array.copy() for array in made]
    transforms = make({"name": "moody", "parameters": {"every": 3}})
    failed = transforms.run(EPOCH, made, 2, made)
    assert [2, 5] == list(failed)
    assert isinstance(failed[2], ItemError)
    assert "custom transform 'moody' raised ValueError: item 12 is not to my taste" == str(failed[2])
    alive = [row for row in range(14) if row // 2 not in (2, 5)]
    for index in range(4):
        np.testing.assert_array_equal(before[index][alive], made[index][: len(alive)])


@pytest.mark.usefixtures("_installed")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("exiting", "custom transform 'exiting' raised SystemExit: 3 is enough"),
        ("speechless", "custom transform 'speechless' raised Speechless, which does not say what is wrong"),
    ],
)
def test_whatever_a_transform_raises_is_the_items_failure(name: str, words: str) -> None:
    """An exit would end one worker after the other, and so would an exception whose text cannot be made."""
    _, failed = run(make({"name": name}), make_task(2, 1))
    assert [0, 1] == list(failed)
    assert isinstance(failed[0], ItemError)
    assert words == str(failed[0])


@pytest.mark.usefixtures("_installed")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("twisted", "'twisted' returned image uint8(6, 4, 3); the schema says uint8(4, 6, 3)"),
        ("widened", "'widened' returned image float64(4, 6, 3); the schema says uint8(4, 6, 3)"),
        ("forgetful", "'forgetful' returned the fields image; the schema says image, label, item, patch"),
        ("silent", "'silent' returned NoneType: it must return the sample"),
        ("renamed", "'renamed' turned item 10, patch 0 into item 11, patch 0"),
        ("ragged", "'ragged' returned label, which is no array: ValueError: "),
        ("device", "'device' returned image, which is no array: TypeError: can't convert cuda:0 device type tensor"),
        ("mumbling", "'mumbling' returned label, which is no array: Speechless, which does not say what is wrong"),
        ("lazy", "'lazy' returned image, which is no array: OSError: the file of image is gone"),
        ("nameless", "'nameless' returned a sample that does not tell its fields: OSError: the file is gone"),
        ("half", "'half' returned the fields image, label, item, patch, weight; the schema says image, label, item"),
    ],
)
def test_a_transform_that_returns_what_the_schema_does_not_say_is_an_error_that_says_both(
    name: str, words: str
) -> None:
    """It is a TransformError, and no fault of the item."""
    _, failed = run(make({"name": name}), make_task(1, 1))
    assert isinstance(failed[0], TransformError)
    assert words in str(failed[0])


@pytest.mark.usefixtures("_installed")
@pytest.mark.parametrize(
    ("custom", "words"),
    [
        ({"name": "nowhere"}, ["no custom transform 'nowhere' is installed here", "invert (probe 2.1)", "install"]),
        ({"name": "invert", "version": "2.0"}, ["version = '2.0'", "installed here is invert (probe 2.1)"]),
        ({"name": "broken"}, ["broken (probe 2.1) cannot be imported: ModuleNotFoundError"]),
        ({"name": "constant"}, ["constant (probe 2.1) is 3, and that is no function"]),
        ({"name": "dither"}, ["(sample, rng)", "missing a required argument: 'levels'"]),
        ({"name": "invert", "parameters": {"tpo": 1}}, ["tpo=1", "unexpected keyword argument 'tpo'"]),
        ({"name": "invert", "parameters": {"sample": 1}}, ["multiple values for argument 'sample'"]),
    ],
)
def test_a_transform_that_cannot_be_run_is_refused_at_the_start_in_words(
    custom: dict[str, Any], words: list[str]
) -> None:
    """The stream, the entry's place and what is installed are named."""
    with pytest.raises(SpecError) as caught:
        make({"name": "invert"}, custom)
    for word in ["stream 'train': transform.custom[1]", *words]:
        assert word in str(caught.value)


def test_without_any_package_the_refusal_says_so() -> None:
    """Nothing is installed unless somebody installed it."""
    with pytest.raises(SpecError, match=r"installed here \(installed: none\): install the package that publishes it"):
        make({"name": "invert"})


@pytest.mark.usefixtures("_installed")
def test_a_name_that_two_packages_publish_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which of them is found first may differ between workers."""
    monkeypatch.syspath_prepend(install(write_package(tmp_path / "source", "other", "1.0"), tmp_path / "target"))
    with pytest.raises(SpecError, match=r"several packages .*invert \(other 1\.0\).*invert \(probe 2\.1\)"):
        make({"name": "invert"})


def test_a_package_that_exits_when_it_is_imported_is_refused_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the worker would end without saying why."""
    target = install(write_package(tmp_path / "source", "leaver", "1.0"), tmp_path / "target")
    (target / "leaver.py").write_text("raise SystemExit('no licence')", encoding="utf-8")
    monkeypatch.syspath_prepend(target)
    with pytest.raises(SpecError, match=r"invert \(leaver 1\.0\) cannot be imported: SystemExit: no licence"):
        make({"name": "invert"})


@pytest.mark.usefixtures("_installed")
def test_a_transform_whose_image_only_is_called_otherwise_runs_as_before() -> None:
    """Axes and channels say how numbers are read, and change none."""
    produces = {"image": {"dtype": "uint8", "shape": [4, 6, 3], "axes": "hwc"}}
    named, plain = make({"name": "invert", "produces": produces}), make({"name": "invert"})
    assert "hwc" == named.schema[0].axes
    for expected, found in zip(run(plain, make_task(2, 1))[0], run(named, make_task(2, 1))[0], strict=True):
        np.testing.assert_array_equal(expected, found)
