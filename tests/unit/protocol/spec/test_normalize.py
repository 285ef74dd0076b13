"""Settings of `[transform.normalize]` and the statistics they read: files, refusals, the fingerprint."""

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from support.imaging.normalizing import noise, unchecked

from penstock.protocol.errors import SpecError
from penstock.protocol.fingerprint import fingerprint
from penstock.protocol.spec.normalize import Normalize
from penstock.protocol.spec.spec import Spec, parse_spec
from penstock.protocol.spec.statistics import Statistics
from penstock.protocol.spec.transform import Transform
from penstock.sources.directory import DirectorySource
from penstock.worker.imaging.normalize import open_normalizer


@pytest.mark.parametrize("suffix", [".npz", ".json"])
def test_a_statistics_file_is_read_with_the_spec(tmp_path: Path, suffix: str) -> None:
    """Its numbers travel in the spec, its digest stands in the fingerprint, its matrix is read where it is needed."""
    images = noise(5, 150, 4, 4, 3)
    arguments = {"zca_whitening": True}
    found = Statistics.fit(images, unchecked(**arguments))
    file = tmp_path / f"statistics{suffix}"
    found.save(file)
    data = {
        "roots": {"data": str(tmp_path)},
        "streams": {
            "train": {
                "source": {"kind": "directory", "root": "data"},
                "transform": {
                    "resize": {"height": 4, "width": 4},
                    "normalize": arguments | {"statistics": file.name},
                },
            }
        },
    }
    spec = parse_spec(data)
    stream = spec.streams["train"]
    settings = stream.transform.normalize
    assert settings is not None
    assert found.mean is not None
    assert tuple(found.mean.tolist()) == settings.mean
    again = Spec.model_validate_json(spec.model_dump_json())
    assert again.streams == spec.streams
    normalizer = open_normalizer(settings, (4, 4, 3), stream.source, spec.roots)
    assert np.array_equal(found.zca, normalizer.zca)  # type: ignore[arg-type]
    before = fingerprint(spec, stream, "listing")
    Statistics(mean=found.mean, zca=np.zeros_like(found.zca)).save(file)
    with pytest.raises(SpecError, match="bring the same file"):
        open_normalizer(settings, (4, 4, 3), stream.source, spec.roots)
    changed = parse_spec(data)
    assert before != fingerprint(changed, changed.streams["train"], "listing")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot read the statistics"),
        (b"", "not statistics"),
        (b"[1, 2]", "not statistics: it holds list"),
        (b'{"men": [1]}', "it holds .'men'."),
        (b'{"std": [1, 2, 3]}', "holds no mean"),
        (b'{"mean": [1, 2]}', "mean has 2 numbers, but samples have 3"),
        (b'{"mean": [NaN]}', "not finite"),
        (b'{"mean": "many"}', "not statistics"),
    ],
)
def test_a_bad_statistics_file_is_named(tmp_path: Path, content: bytes | None, words: str) -> None:
    """Missing, damaged, of another make, of other channels: an error that names the stream and the file."""
    if content is not None:
        (tmp_path / "s.json").write_bytes(content)
    normalize = {"featurewise_center": True, "statistics": "s.json"}
    data = {
        "roots": {"data": str(tmp_path)},
        "streams": {
            "train": {
                "source": {"kind": "directory", "root": "data"},
                "transform": {"resize": {"height": 4, "width": 4}, "normalize": normalize},
            }
        },
    }
    with pytest.raises(SpecError, match=rf"streams.train.transform: .*{words}"):
        parse_spec(data)


@pytest.mark.parametrize("path", ["/etc/passwd.json", "../s.json", "a\\b.json"])
def test_statistics_lie_below_their_root(path: str) -> None:
    """A spec, or a plan that a false ventilator sends, names no file elsewhere."""
    with pytest.raises(ValidationError, match="must be a relative path"):
        Normalize(zca_whitening=True, statistics=path)


def test_a_worker_follows_no_link_of_statistics_out_of_their_root(tmp_path: Path) -> None:
    """They are confined like images; only a source that may follow links does."""
    (tmp_path / "data").mkdir()
    Statistics(mean=np.zeros(3), zca=np.eye(48, dtype=np.float32)).save(tmp_path / "s.npz")
    (tmp_path / "data" / "s.npz").symlink_to(tmp_path / "s.npz")
    settings = Normalize(zca_whitening=True, statistics="s.npz", mean=(0.0,))
    roots = {"data": str(tmp_path / "data")}
    for allowed in (False, True):
        source = DirectorySource(kind="directory", root="data", allow_outside=allowed)
        with nullcontext() if allowed else pytest.raises(SpecError, match="leads outside its root"):
            open_normalizer(settings, (4, 4, 3), source, roots)


def test_no_pickle_is_read(tmp_path: Path) -> None:
    """A .npz may hold objects; ours never do, and none is unpickled."""
    np.savez(tmp_path / "s.npz", mean=np.array([{"a": 1}], dtype=object))
    with pytest.raises(SpecError, match="not statistics"):
        Statistics.load(tmp_path / "s.npz")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"featurewise_center": True}, "needs mean"),
        ({"featurewise_std_normalization": True, "mean": [1.0]}, "needs std"),
        ({"zca_whitening": True, "mean": [1.0]}, "needs statistics"),
        ({"statistics": "x.pickle"}, "give a .npz or .json"),
        ({"dtype": "float64"}, "float32"),
        ({"mean": []}, "mean"),
        ({"rescale": float("inf")}, "finite"),
    ],
)
def test_senseless_normalisation_is_refused(arguments: dict[str, Any], words: str) -> None:
    """What Keras would warn about and leave out is an error here, with what to add."""
    with pytest.raises(ValidationError, match=words):
        Normalize(**arguments)


def test_statistics_are_those_of_the_samples_channels() -> None:
    """One number for all, or one a channel: found when the spec is read, with what it says and what it should."""
    for color, fitting in (("rgb", (1, 3)), ("gray", (1,)), ("rgba", (1, 4))):
        for count in range(1, 6):
            normalize = {"featurewise_center": True, "mean": [0.5] * count}
            transform = {"color": color, "resize": {"height": 4, "width": 4}, "normalize": normalize}
            if count in fitting:
                Transform.model_validate(transform)
                continue
            with pytest.raises(ValidationError, match=f"mean has {count} numbers, but samples have"):
                Transform.model_validate(transform)


def test_statistics_of_nothing_are_refused() -> None:
    """An array of another rank, or none at all."""
    for shape in ((0, 4, 4, 3), (4, 4, 3)):
        with pytest.raises(SpecError, match=r"give .samples, height, width, channels."):
            Statistics.fit(np.zeros(shape), Normalize())


def test_statistics_in_json_are_plain_numbers(tmp_path: Path) -> None:
    """Any program can write them, and read what `save` wrote."""
    Statistics(mean=np.array([1.5, 2.0, 3.0]), std=np.array([0.5])).save(tmp_path / "s.json")
    assert {"mean": [1.5, 2.0, 3.0], "std": [0.5]} == json.loads((tmp_path / "s.json").read_text())
