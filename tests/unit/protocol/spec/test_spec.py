"""The spec: errors that say file, field, value and what is allowed; sizes that nest."""

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.protocol.errors import SpecError
from penstock.protocol.plan import default_task_items
from penstock.protocol.spec.spec import Spec, load_spec, parse_spec

GOOD = """
seed = 7
[roots]
photos = "data"
[streams.train]
batch_size = 16
[streams.train.source]
kind = "directory"
root = "photos"
[streams.train.transform]
resize = {height = 32, width = 48}
"""


def broken(text: str, tmp_path: Path) -> str:
    """Return the error of loading a spec with this text."""
    file = tmp_path / "spec.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        load_spec(file)
    assert str(file) in str(caught.value)
    return str(caught.value)


def test_a_good_spec_loads_and_its_roots_start_at_its_folder(tmp_path: Path) -> None:
    """Relative roots belong to the file, not to where the program was started."""
    file = tmp_path / "spec.toml"
    file.write_text(GOOD, encoding="utf-8")
    spec = load_spec(file)
    assert {"photos": str(tmp_path / "data")} == spec.roots
    assert 16 == spec.streams["train"].batch_size
    assert (32, 48, 3) == spec.streams["train"].transform.image_shape


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("batch_size = 16", "batch_size = 0", ["streams.train.batch_size", "0", "greater than or equal to 1"]),
        ("batch_size = 16", 'batch_size = "many"', ["streams.train.batch_size", "'many'", "integer"]),
        (
            "batch_size = 16",
            "batchsize = 16",
            ["streams.train.batchsize", "16", "did you mean 'batch_size'", "allowed: "],
        ),
        ("seed = 7", "seed = -1", ["seed", "-1", "greater than or equal to 0"]),
        ("seed = 7", "sead = 7", ["sead", "7", "did you mean 'seed'", "roots, seed, streams"]),
        ('kind = "directory"', 'kind = "folder"', ["streams.train.source", "folder", "'directory'", "'manifest'"]),
        ('root = "photos"', 'root = "fotos"', ["streams.train.source.root", "'fotos'", "no such root", "photos"]),
        ('root = "photos"', 'root = "photos"\npath = "../x"', ["streams.train.source.path", "'../x'", "no '..'"]),
        ('root = "photos"', 'root = "photos"\npath = "/etc"', ["streams.train.source.path", "'/etc'", "relative path"]),
        (
            'root = "photos"',
            'root = "photos"\nsubset = "validation"',
            ["streams.train.source", "validation_split", "both"],
        ),
        ("height = 32, ", "", ["streams.train.transform.resize.height", "required"]),
        (
            "height = 32",
            'height = 32, filter = "cubist"',
            ["transform.resize.filter", "'cubist'", "'bicubic'", "'cubic'"],
        ),
        ("resize = {height = 32, width = 48}", "", ["streams.train.transform", "one shape", "patch"]),
        ("batch_size = 16", 'shard = "3/2"', ["streams.train", "3/2", "must not exceed"]),
        ("batch_size = 16", 'shard = "0/2"', ["streams.train.shard", "'0/2'"]),
        ("batch_size = 16", 'cache = {gb = 1, verify = "never"}', ["cache.verify", "'never'", "'times'", "'digest'"]),
        ("batch_size = 16", "patches = 4", ["streams.train", "patches = 4", "'random', 'scattered' or 'grid'"]),
        ("batch_size = 16", "failure_budget = 2.0", ["streams.train.failure_budget", "2.0", "less than or equal to 1"]),
        ("[streams.train]\nbatch_size = 16", "[streams.'a b']\nbatch_size = 16", ["streams", "a b"]),
        ("seed = 7", "seed = = 7", ["not valid TOML", "line 2"]),
    ],
)
def test_a_mistake_is_named_with_file_field_value_and_what_is_allowed(
    old: str, new: str, words: list[str], tmp_path: Path
) -> None:
    """A user who reads the error can repair the file without reading the code."""
    assert old in GOOD
    error = broken(GOOD.replace(old, new), tmp_path)
    assert [] == [word for word in words if word not in error]


PATCH = "patch = {height = 20, width = 30"
CUP = '[streams.train.transform.manipulations]\npreset = "ieee-sp-cup-2018"'


@pytest.mark.parametrize(
    ("transform", "words"),
    [
        (f"{PATCH}}}\nresize = {{height = 19, width = 48}}", ["patch.height = 20", "resize.height = 19"]),
        (f'{PATCH}, kind = "strewn"}}', ["transform.patch.kind", "'strewn'", "'scattered'"]),
        (f'{PATCH}, too_small = "drop"}}', ["transform.patch.too_small", "'drop'", "'quarantine', 'pad' or 'resize'"]),
        (f'{PATCH}, pad_mode = "mirror"}}', ["transform.patch.pad_mode", "'mirror'", "'reflect'"]),
        (f"{PATCH}, pad_value = 256}}", ["transform.patch.pad_value", "256", "255"]),
        (
            f"resize = {{height = 32, width = 48}}\n{CUP}",
            ["resize.height = 32", "the 63 that the manipulations", "pad"],
        ),
        (
            f"{PATCH}}}\nresize = {{height = 39, width = 58}}\n{CUP}",
            ["resize.width = 58 is less than the 59", "20 × 30"],
        ),
        (f"{PATCH}}}\n{CUP}-x", ["transform.manipulations.preset", "ieee-sp-cup-2018"]),
        (
            f'{PATCH}}}\n{CUP}\nchoices = [{{kind = "jpeg", value = 0}}]',
            ["transform.manipulations.choices.0.value = 0", "greater than or equal to 1"],
        ),
        (
            f'{PATCH}}}\n{CUP}\nchoices = [{{kind = "rot90", turn = 1}}]',
            ["transform.manipulations.choices.0.turn = 1", "did you mean 'turns'"],
        ),
        (f'{PATCH}}}\n{CUP}\nchoices = [{{kind = "gamma"}}]', ["transform.manipulations.choices.0.value", "required"]),
        (f'{PATCH}}}\n{CUP}\nchoices = [{{kind = "gamma", value = 1.2}}]', ["the same manipulation twice: gamma12"]),
    ],
)
def test_a_mistake_in_a_patch_or_manipulation_is_named_too(transform: str, words: list[str], tmp_path: Path) -> None:
    """With the value, and what the manipulations need."""
    text = GOOD.replace("resize = {height = 32, width = 48}", transform).replace('2018"-x', '2017"')
    error = broken(text, tmp_path)
    assert [] == [word for word in words if word not in error], error


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("batch_size = 16", "batch_size = 16\ncache = 40", "train.cache = 40: must be a table such as { gb = … }"),
        (
            "resize = {height = 32, width = 48}",
            "augment = true",
            "augment = True: must be a table; its fields are axes,",
        ),
        ("batch_size = 16", "batch_size = 16\ntargets = 1", "train.targets = 1: must be a table\n"),
    ],
)
def test_a_value_in_place_of_a_table_is_told_what_the_table_holds(
    old: str, new: str, words: str, tmp_path: Path
) -> None:
    """The fields that it needs; all of them where it needs none."""
    assert words in broken(GOOD.replace(old, new), tmp_path) + "\n"


def test_a_source_that_is_no_table_is_shown_one() -> None:
    """With the braces that TOML wants."""
    spec = {"streams": {"train": {"source": "photos", "transform": {}}}}
    with pytest.raises(SpecError, match=r"source = 'photos': must be a table such as \{kind = 'directory', root"):
        parse_spec(spec)


def test_more_scattered_patches_than_can_fit_are_refused(tmp_path: Path) -> None:
    """Where all images are of one size, every one of them would be quarantined."""
    cut = 'resize = {height = 60, width = 90}\npatch = {height = 20, width = 30, kind = "scattered"}'
    text = GOOD.replace("resize = {height = 32, width = 48}", cut)
    file = tmp_path / "spec.toml"
    file.write_text(text.replace("batch_size = 16", "patches = 9"), encoding="utf-8")
    assert 9 == load_spec(file).streams["train"].patches
    assert "patches = 10 but at most 9 fit" in broken(text.replace("batch_size = 16", "patches = 10"), tmp_path)


@pytest.mark.parametrize("rule", ["pad", "resize"])
def test_a_resized_image_smaller_than_the_patch_is_allowed_where_it_is_enlarged(rule: str, tmp_path: Path) -> None:
    """That is a way to frame an image."""
    cut = f'resize = {{height = 16, width = 24}}\npatch = {{height = 20, width = 30, too_small = "{rule}"}}'
    file = tmp_path / "spec.toml"
    file.write_text(GOOD.replace("resize = {height = 32, width = 48}", f"{cut}\n{CUP}"), encoding="utf-8")
    transform = load_spec(file).streams["train"].transform
    assert ((20, 30, 3), (39, 59)) == (transform.image_shape, transform.least_size)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    """One line each, so that a file is repaired in one go."""
    error = broken(GOOD.replace("batch_size = 16", "batch_size = 0").replace("seed = 7", "seed = -1"), tmp_path)
    assert 2 == len(error.splitlines())


def test_a_missing_file_is_told_in_words(tmp_path: Path) -> None:
    """The path, the reason and what to give instead."""
    with pytest.raises(SpecError, match=r"none\.toml: cannot read the spec: No such file.*give the path"):
        load_spec(tmp_path / "none.toml")


def stream(task_items: int | None, mix: int, patches: int = 1) -> Any:
    """Return a stream with these sizes."""
    patch = {"kind": "random", "height": 8, "width": 8}
    settings: dict[str, Any] = {
        "source": {"kind": "directory", "root": "photos"},
        "transform": {"resize": {"height": 8, "width": 8}, "patch": patch},
        "mix": mix,
        "patches": patches,
        "task_items": task_items,
    }
    return Spec.model_validate({"streams": {"train": settings}}).streams["train"]


@given(
    st.none() | st.integers(1, 4096),
    st.integers(1, 1000),
    st.integers(1, 50),
    st.integers(1, 10**8),
    st.integers(1, 10**9),
)
def test_tasks_and_mix_windows_always_nest(
    task_items: int | None, mix: int, patches: int, sample_bytes: int, count: int
) -> None:
    """Whatever is asked for, one divides the other, and a task is never larger than asked for unless `mix` needs it."""
    items = default_task_items(stream(task_items, mix, patches), sample_bytes, count)
    assert items >= 1
    assert items % mix == 0 or mix % items == 0
    if task_items is not None:
        assert items <= task_items
    elif items > 1:
        assert items * patches * sample_bytes <= 8_000_000
    assert items <= 4096


@given(st.integers(1, 300), st.integers(1, 20), st.integers(1, 100_000))
def test_a_task_holds_whole_batches_where_that_comes_near(batch_size: int, patches: int, sample_bytes: int) -> None:
    """About 4 MB, at most twice as many, and no batch is cut by a task's end unless a batch is larger than that."""
    settings = stream(None, 1, patches).model_copy(update={"batch_size": batch_size})
    items = default_task_items(settings, sample_bytes, 10**9)
    near = 2 * (4_000_000 // (sample_bytes * patches)) * patches * sample_bytes
    if math.lcm(batch_size, patches) * sample_bytes < near and items < 512:
        assert items * patches % batch_size == 0
    assert items == 1 or items * patches * sample_bytes <= 8_000_000


@given(st.integers(1, 300), st.integers(1, 100_000), st.integers(1, 10**6))
def test_an_epoch_has_many_tasks(batch_size: int, sample_bytes: int, count: int) -> None:
    """A task is a 64th of the epoch's items or less, unless that were fewer than 16 or cut a batch."""
    settings = stream(None, 1).model_copy(update={"batch_size": batch_size})
    items = default_task_items(settings, sample_bytes, count)
    assert items <= max(count // 64, 16, batch_size)


@pytest.mark.parametrize("kind", ["arrays", "hdf5"])
def test_tasks_are_larger_where_nothing_is_decoded(kind: str) -> None:
    """Four times the bytes, or twice the items where their number decides; a number that is given counts as it is."""
    rows = {"arrays": {"images": "x.npy"}, "hdf5": {"path": "x.h5"}}[kind]
    settings = {"source": {"kind": kind, "root": "data", **rows}, "transform": {"resize": [8, 8]}, "batch_size": 32}
    pixels = Spec.model_validate({"streams": {"train": settings}}).streams["train"]
    decoded = stream(None, 1).model_copy(update={"batch_size": 32})
    for sample_bytes, count, times in ((12_304, 50_000, 4), (12_304, 10_000, 2), (500, 10**6, 2)):
        once, larger = (default_task_items(each, sample_bytes, count) for each in (decoded, pixels))
        assert times * once <= larger <= times * once + 32
        assert larger * sample_bytes <= 16_000_000
    assert 40 == default_task_items(pixels.model_copy(update={"task_items": 40}), 12_304, 50_000)


@pytest.mark.parametrize(("mix", "expected"), [(997, 997), (1000, 10), (900, 15), (13, 13), (5, 15)])
def test_a_mix_window_without_fitting_parts_is_one_task(mix: int, expected: int) -> None:
    """Tasks of one item each would cost more than they gain: 997 is a prime number, 1000 is not."""
    settings = stream(None, mix).model_copy(update={"batch_size": 4096})
    assert expected == default_task_items(settings, 3000, 1000)


def test_a_mapping_is_checked_like_a_file() -> None:
    """parse_spec names errors by the name that it is given."""
    with pytest.raises(SpecError, match=r"^my spec: streams: .*"):
        parse_spec({"streams": {}}, name="my spec")
