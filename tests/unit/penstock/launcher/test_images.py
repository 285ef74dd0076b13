"""The spec that `penstock.images` writes for a folder, and what is wrong with its arguments."""

import re
from pathlib import Path
from typing import Any

import pytest

import penstock
from penstock.launcher.images import images_spec, with_cache
from penstock.protocol.errors import MissingFolderError, PenstockError, SpecError
from penstock.protocol.spec.spec import Spec, parse_spec
from penstock.ventilator.sources.catalog import Catalog


def spec_of(folder: Path, **changes: Any) -> Spec:
    """Return the spec of a folder."""
    options: dict[str, Any] = {
        "size": (8, 6),
        "validation_split": 0.0,
        "batch_size": 4,
        "augment": None,
        "recipe": None,
    }
    options |= {"color": "rgb", "fit": "stretch", "classes": None, "seed": 3}
    return parse_spec(images_spec(folder, options | changes))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Return 2 × 10 empty files: only listing is tested."""
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(10):
            (tmp_path / name / f"{number}.jpg").touch()
    return tmp_path


def test_a_split_makes_a_stream_of_what_is_held_out(photos: Path) -> None:
    """The streams share nothing; only training is shuffled and changed."""
    spec = spec_of(photos, validation_split=0.2, augment={"horizontal_flip": True}, size=(8, 6))
    plans = {plan.name: plan for plan in Catalog.open(spec, spec.roots).plans}
    assert {"train": 16, "validation": 4} == {name: plan.items for name, plan in plans.items()}
    train, validation = plans["train"].settings, plans["validation"].settings
    assert (True, False) == (train.shuffle, validation.shuffle)
    assert (True, False) == (train.transform.augment.horizontal_flip, validation.transform.augment.horizontal_flip)
    assert (8, 6, 3) == plans["train"].schema[0].shape == plans["validation"].schema[0].shape


def test_without_a_split_there_is_one_stream(photos: Path) -> None:
    """One number is a square; classes may be chosen."""
    spec = spec_of(photos, size=12, classes=("dog",))
    [plan] = Catalog.open(spec, spec.roots).plans
    assert ("train", 10, ("dog",), (12, 12, 3)) == (plan.name, plan.items, plan.classes, plan.schema[0].shape)


def test_a_cache_is_shared_by_the_streams(photos: Path) -> None:
    """Together they may take what is given; without a size there is none, and a folder alone is no size."""
    options = {"size": 8, "batch_size": 4, "augment": None, "recipe": None, "color": "rgb", "fit": "stretch"}
    plain = images_spec(photos, options | {"validation_split": 0.2, "classes": None, "seed": 3})
    kept = [stream.cache for stream in parse_spec(with_cache(plain, 40, "/fast")).streams.values()]
    assert [20.0, 20.0] == [cache.gb for cache in kept if cache is not None]
    assert plain == with_cache(plain, None, None)
    with pytest.raises(SpecError, match=r"cache = '/fast': also say how much it may hold, such as cache_gb=40"):
        with_cache(plain, None, "/fast")
    for wrong in (0, -1, True, "40", float("nan")):
        with pytest.raises(SpecError, match=r"cache_gb = .*: give how much decoded images may take"):
            with_cache(plain, wrong, None)


@pytest.mark.parametrize("name", ["validation", "valid", "val"])
def test_folders_of_training_and_validation_are_streams(photos: Path, tmp_path_factory: Any, name: str) -> None:
    """They are no classes."""
    top: Path = tmp_path_factory.mktemp("top")
    (top / "train").symlink_to(photos)
    (top / name / "cat").mkdir(parents=True)
    (top / name / "cat" / "1.jpg").touch()
    spec = spec_of(top)
    assert {"train": "train", "validation": name} == {
        stream: getattr(settings.source, "path", None) for stream, settings in spec.streams.items()
    }
    with pytest.raises(SpecError, match=f"has folders 'train' and '{name}' already"):
        spec_of(top, validation_split=0.2)


@pytest.mark.parametrize(
    ("changes", "side", "patches", "validation"),
    [
        ({"recipe": "imagenet-train"}, 224, 1, ["resize", "center_crop"]),
        ({"recipe": "imagenet-train", "size": 96}, 96, 1, ["resize", "center_crop"]),
        ({"recipe": "simclr", "size": (64, 64)}, 64, 2, ["resize", "center_crop"]),
        ({"recipe": "cifar-train"}, 32, 1, []),
        ({"recipe": "dino", "size": 56}, 56, 1, ["resize", "center_crop"]),
        ({"recipe": "timm-a1"}, 224, 1, ["resize", "center_crop"]),
        ({"recipe": "keras-imagedatagenerator"}, 256, 1, []),
    ],
)
def test_a_recipe_changes_training_images_alone(
    photos: Path, changes: dict[str, Any], side: int, patches: int, validation: list[str]
) -> None:
    """Validation images have the same size, and no random changes."""
    spec = spec_of(photos, validation_split=0.2, **({"size": None} | changes))
    train, held = spec.streams["train"], spec.streams["validation"]
    assert train.transform.recipe is not None
    assert changes["recipe"] == train.transform.recipe.name
    assert (side, side, 3) == train.transform.image_shape == held.transform.image_shape
    assert (patches, 1) == (train.patches, held.patches)
    assert validation == [step.name for step in held.transform.all_steps]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"recipe": "imagenet", "size": 8}, r"recipe\.name = 'imagenet': .*'imagenet-train'"),
        ({"recipe": "simclr", "augment": {"horizontal_flip": True}}, r"and recipe = 'simclr': give one of the two"),
        ({"recipe": "simclr", "fit": "cover"}, r"fit = 'cover' and recipe = 'simclr'"),
        ({"recipe": "simclr", "size": (8, 9)}, r"size = \(8, 9\): the samples of recipe 'simclr' are squares"),
        ({"size": 8.5}, r"size = 8\.5: give \(height, width\)"),
        ({"size": (8, 8, 3)}, r"size = \(8, 8, 3\): give"),
        ({"size": (0, 8)}, r"resize\.height = 0: .*greater than or equal to 1"),
        ({"validation_split": 20}, "validation_split = 20: give 0 to below 1"),
        ({"validation_split": "0.2"}, r"validation_split = '0\.2'"),
        ({"augment": "flip"}, "augment = 'flip': give a mapping"),
        ({"classes": "cats"}, "classes = 'cats': give a list"),
        ({"classes": 3}, "classes = 3: give a list"),
        ({"augment": {"rotation": 20}}, "unknown field; did you mean 'rotation_range'"),
        ({"color": "bgr"}, "color = 'bgr'"),
        ({"batch_size": 0}, "batch_size = 0"),
    ],
)
def test_wrong_arguments_are_quoted(photos: Path, changes: dict[str, Any], words: str) -> None:
    """And the error says what to give."""
    with pytest.raises(SpecError, match=words):
        spec_of(photos, **changes)


def test_what_is_no_folder_is_named(photos: Path) -> None:
    """A folder that is missing, and a file."""
    with pytest.raises(MissingFolderError, match="no such folder; give the folder that holds one subfolder per class"):
        spec_of(photos / "gone")
    with pytest.raises(PenstockError, match=r"it is a file: for a spec call penstock\.local"):
        spec_of(photos / "cat" / "1.jpg")


@pytest.mark.parametrize("folder", [3, None, [1], b"photos"])
def test_what_is_no_path_is_no_folder_of_images(folder: Any) -> None:
    """The error quotes it and says what to give."""
    with pytest.raises(SpecError, match=rf"penstock\.images\({re.escape(repr(folder))}\): give the path of the folder"):
        penstock.images(folder)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"spec": 3}, "3 is no spec: give the path of a TOML file"),
        ({"spec": object()}, r"is no spec: .* penstock\.images\(folder\) starts its stack itself"),
        ({"spec": b"spec.toml"}, r"b'spec\.toml' is no spec"),
        ({"workers": "two"}, "workers = 'two': give a whole number"),
        ({"workers": -1}, "workers = -1: give a whole number, 0 or more"),
        ({"workers": True}, "workers = True"),
        ({"roots": "photos"}, "roots = 'photos': give a mapping of root names to folders"),
        ({"roots": {"images": 3}}, "roots: 'images' = 3: give a mapping"),
        ({"run_dir": 3}, "run_dir = 3: give the path of a folder"),
        ({"keys": 3}, "keys = 3: give the path of a folder"),
        ({"dashboard": 3}, 'dashboard = 3: give "auto", host:port'),
    ],
)
def test_arguments_of_a_stack_of_the_wrong_type_are_quoted(photos: Path, changes: dict[str, Any], words: str) -> None:
    """With what to give; nothing is started."""
    given: dict[str, Any] = {"spec": spec_of(photos)} | changes
    with pytest.raises(SpecError, match=words):
        penstock.local(**given)
