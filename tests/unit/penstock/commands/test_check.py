"""`penstock check`: its predictions follow from the spec and the files, and a bad spec is an error in words."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from support.streams import make_images

from penstock.commands.check import main
from penstock.worker.imaging import partial_jpeg

#: 3 + 2 images of 8×12 pixels after resizing, four patches of each.
SPEC = """
seed = 3
[roots]
photos = "photos"
[streams.train]
batch_size = 6
patches = 4
mix = 2
task_items = 2
window_mb = 0.03
source = { kind = "directory", root = "photos" }
transform = { resize = { height = 20, width = 20 }, patch = { kind = "random", height = 8, width = 12 } }
[streams.validation]
batch_size = 2
shuffle = false
drop_remainder = true
source = { kind = "directory", root = "photos", classes = ["dog"] }
transform = { resize = { height = 8, width = 12 }, color = "gray" }
"""
SAMPLE_BYTES = 8 * 12 * 3 + 4 + 8 + 4


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    """Return a spec file next to its images: three cats, two dogs."""
    make_images(tmp_path / "photos", each=2, size=32)
    (tmp_path / "photos/cat/0009.jpg").write_bytes((tmp_path / "photos/cat/0001.jpg").read_bytes())
    (tmp_path / "spec.toml").write_text(SPEC, encoding="utf-8")
    return tmp_path / "spec.toml"


def ask(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """Return what `penstock check … --json` says."""
    assert 0 == main([*arguments, "--json"])
    return json.loads(capsys.readouterr().out)


def test_sizes_classes_and_schema_follow_from_spec_and_files(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Items, classes with counts, samples, batches, tasks and the fields of a sample, for each stream."""
    train, validation = ask(capsys, str(spec))["streams"]
    assert ("train", 5, {"cat": 3, "dog": 2}) == (train["stream"], train["items"], train["classes"])
    assert (20, 4, 3, 2) == tuple(
        train[key] for key in ("samples_per_epoch", "batches_per_epoch", "tasks_per_epoch", "items_per_task")
    )
    image, label = train["schema"][:2]
    pixels = {"name": "image", "dtype": "uint8", "shape": [8, 12, 3], "axes": "hwc", "channels": "rgb", "bytes": 288}
    assert pixels == image
    assert {"name": "label", "dtype": "int32", "shape": [], "axes": "", "channels": "", "bytes": 4} == label
    assert ({"dog": 2}, 1, [8, 12, 1], "gray") == (
        validation["classes"],
        validation["batches_per_epoch"],
        validation["schema"][0]["shape"],
        validation["schema"][0]["channels"],
    )
    assert len("2:") + 32 == len(train["fingerprint"])
    assert train["fingerprint"] != validation["fingerprint"]


def test_the_steps_of_a_recipe_are_told(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A recipe's steps with all their parameters, for people and in JSON; other fields as the steps they stand for."""
    train, _ = ask(capsys, str(spec))["streams"]
    assert ["resize", "random_crop"] == [step["op"] for step in train["steps"]]
    line = next(line for line in SPEC.splitlines() if line.startswith("transform"))
    spec.write_text(SPEC.replace(line, 'transform = { recipe = "cifar-train" }', 1), encoding="utf-8")
    first, second = ask(capsys, str(spec), "--stream", "train")["streams"][0]["steps"]
    assert ("recipe", "random_crop", [32, 32], 1.0) == (
        first["field"],
        first["op"],
        first["parameters"]["size"],
        first["p"],
    )
    assert ("flip", 0.5) == (second["op"], second["p"])
    assert 0 == main([str(spec), "--stream", "train"])
    assert "padding = [4, 4, 4, 4]" in " ".join(capsys.readouterr().out.split())


def test_the_order_names_positions_paths_labels_and_patches(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first samples of two epochs: within a mix window, patches of its items; unshuffled, the source's order."""
    train, validation = ask(capsys, str(spec))["streams"]
    assert [*range(5), *range(20, 25)] == [entry["position"] for entry in train["order"]]
    assert [0] * 5 + [1] * 5 == [entry["epoch"] for entry in train["order"]]
    for epoch in (0, 1):
        shown = [(entry["path"], entry["patch"]) for entry in train["order"] if entry["epoch"] == epoch]
        assert 5 == len(set(shown))
        assert len({path for path, _ in shown}) <= 2
    assert all(entry["class"] == entry["path"].split("/")[0] for entry in train["order"])
    first = {"epoch": 0, "position": 0, "path": "dog/0000.jpg", "label": 0, "class": "dog", "patch": 0}
    assert first == validation["order"][0]


def test_memory_is_a_sum_of_explained_terms(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """More workers, trainers and window cost more, in the terms that name them; every term says why."""

    def terms(*options: str) -> Mapping[str, float]:
        told = ask(capsys, str(spec), *options)
        assert all(term["why"] for term in told["memory"])
        assert told["memory_mb"] == pytest.approx(sum(term["mb"] for term in told["memory"]), abs=0.01)
        return {term["where"]: term["mb"] for term in told["memory"]}

    one = terms("--stream", "train", "--workers", "1", "--prefetch", "4")
    assert one["sink, train"] == pytest.approx((3e4 // SAMPLE_BYTES + 2 * 8) * SAMPLE_BYTES / 1e6, abs=0.001)
    more = terms("--stream", "train", "--workers", "3", "--world-size", "2", "--prefetch", "9")
    assert more["workers, samples"] == pytest.approx(3 * one["workers, samples"], abs=0.003)
    assert more["trainers, train"] == pytest.approx(2 * 14 / 9 * one["trainers, train"], abs=0.003)
    assert more["programs"] > one["programs"]
    assert [] == [name for name in terms("--workers", "0") if name.startswith("workers")]
    assert [] == [name for name in terms("--stream", "train") if "validation" in name]


def test_what_a_cache_gains_is_said(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For each stream: the size, and the processor time of a sample with a cache and without, in JSON and in words."""
    for stream in ask(capsys, str(spec))["streams"]:
        gain = stream["cache"]["gain"]
        assert 0 < gain["later_ms"]
        assert pytest.approx(gain["ratio"]) == gain["without_ms"] / gain["later_ms"]
    assert 0 == main([str(spec)])
    said = " ".join(capsys.readouterr().out.split())
    assert 2 == said.count("ms of processor time")


def test_how_this_host_decodes_patches_is_said(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """So that users need not wonder why one host is slower: an extension that did not compile is no error."""
    assert partial_jpeg.describe() == ask(capsys, str(spec))["jpeg_parts"]


def test_a_window_too_small_for_the_batches_is_said_so(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The bound is what the sink will really hold, not what the spec wished for."""
    spec.write_text(SPEC.replace("window_mb = 0.03", "window_mb = 0.001"), encoding="utf-8")
    [term] = [term for term in ask(capsys, str(spec))["memory"] if term["where"] == "sink, train"]
    assert "window_mb = 0.001 is less than the least" in term["why"]
    assert term["mb"] == pytest.approx((2 * 6 + 2 * 8 + 2 * 8) * SAMPLE_BYTES / 1e6, abs=0.001)


@pytest.mark.parametrize(
    ("setting", "samples", "words"),
    [
        ("window_epochs = 10", 10 * 20, "window_epochs = 10: 0.1 MB"),
        ("", 16 * 8, "window_epochs = 3 is less than the least, 16 tasks"),
    ],
)
def test_a_window_that_epochs_bound_is_said_so(
    setting: str, samples: int, words: str, spec: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a small source, megabytes of samples would be thousands of epochs."""
    spec.write_text(SPEC.replace("window_mb = 0.03", setting), encoding="utf-8")
    [term] = [term for term in ask(capsys, str(spec))["memory"] if term["where"] == "sink, train"]
    assert words in term["why"]
    assert term["mb"] == pytest.approx((samples + 2 * 8) * SAMPLE_BYTES / 1e6, abs=0.001)


def test_tables_for_people_hold_the_same(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every class, field and term is there, without a traceback or a JSON brace."""
    assert 0 == main([str(spec), "--workers", "2"])
    output = capsys.readouterr().out
    for words in (
        "stream train",
        "stream validation",
        "cat",
        "image",
        "(8, 12, 3)",
        "hwc",
        "rgb",
        "gray",
        "workers, decoding",
        "sum",
    ):
        assert words in output
    assert "{" not in output


def test_many_classes_are_cut_short_for_people_and_whole_in_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A thousand classes do not scroll the rest away."""
    make_images(tmp_path / "photos", each=1, classes=[f"class {number:02}" for number in range(30)], size=16)
    text = SPEC.partition("[streams.validation]")[0]
    (tmp_path / "spec.toml").write_text(text, encoding="utf-8")
    assert 0 == main([str(tmp_path / "spec.toml")])
    assert "10 more" in capsys.readouterr().out
    assert 30 == len(ask(capsys, str(tmp_path / "spec.toml"))["streams"][0]["classes"])


def test_files_that_cannot_be_read_are_left_out_of_the_guess(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A broken file is the stream's concern when it runs; here it must not stop anything."""
    (spec.parent / "photos/cat/0000.jpg").write_bytes(b"not an image")
    (spec.parent / "photos/cat/0001.jpg").unlink()
    (spec.parent / "photos/cat/0001.jpg").symlink_to("nowhere.jpg")
    [term] = [term for term in ask(capsys, str(spec), "--stream", "train")["memory"] if "files" in term["where"]]
    assert "the mean of 3 files" in term["why"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("batch_size = 6", "batchsize = 6", "did you mean 'batch_size'"),
        ("batch_size = 6", "batch_size = 0", "streams.train.batch_size = 0"),
        ('photos = "photos"', 'photos = "nowhere"', "no folder"),
        ('classes = ["dog"]', 'classes = ["fox"]', "'fox' has no folder"),
        ("batch_size = 2", "batch_size = 3", "stream 'validation' never gives a batch"),
        ("seed = 3", "seed = ", "not valid TOML"),
    ],
)
def test_a_bad_spec_or_source_is_an_error_in_words(
    spec: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, words: str
) -> None:
    """Exit status 2 and a message on standard error; nothing on standard output."""
    spec.write_text(SPEC.replace(old, new, 1), encoding="utf-8")
    assert 2 == main([str(spec)])
    said = capsys.readouterr()
    assert words in said.err
    assert "" == said.out


def test_unknown_streams_and_missing_files_are_errors_in_words(
    spec: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """They name what there is."""
    assert 2 == main([str(spec), "--stream", "test"])
    assert "--stream 'test': no such stream; there are: train, validation" in capsys.readouterr().err
    assert 2 == main([str(tmp_path / "none.toml")])
    assert "none.toml" in capsys.readouterr().err


def test_roots_of_the_command_line_go_before_the_specs(
    spec: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """`--root name=path` checks the files of another place."""
    make_images(tmp_path / "elsewhere", each=7, size=16)
    train, _ = ask(capsys, str(spec), "--root", f"photos={tmp_path / 'elsewhere'}")["streams"]
    assert {"cat": 7, "dog": 7} == train["classes"]


def test_the_steps_of_each_part_of_a_mixture_are_told(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Once for the parts that take the stream's transform, and once for each that has one of its own."""
    own = 'transform = { steps = [{ op = "resize", size = [8, 12] }, { op = "grayscale" }] }'
    cat, dog = (f'source = {{ kind = "directory", path = "{name}" }}' for name in ("cat", "dog"))
    mixture = f'{{ kind = "mixture", root = "photos", parts = {{ cat = {{ {cat} }}, dog = {{ {dog}, {own} }} }} }}'
    for folder in ("cat", "dog"):
        make_images(spec.parent / "photos" / folder, each=1, size=32)
    source = next(line for line in SPEC.splitlines() if line.startswith("source"))
    spec.write_text(SPEC.replace(source, f"source = {mixture}", 1), encoding="utf-8")
    [told] = ask(capsys, str(spec), "--stream", "train")["streams"]
    assert [("cat", 2, None), ("dog", 2, ["resize", "grayscale"])] == [
        (part["part"], part["items"], part["steps"] and [step["op"] for step in part["steps"]])
        for part in told["parts"]
    ]
    assert ["resize", "random_crop"] == [step["op"] for step in told["steps"]]
    assert 0 == main([str(spec), "--stream", "train"])
    words = " ".join(capsys.readouterr().out.split())
    assert words.index("steps of cat, in order") < words.index("random_crop") < words.index("steps of dog, in order")
    assert words.index("steps of dog, in order") < words.index("grayscale")
