"""Other loaders in a benchmark: which can be asked for, what they are given, and what the report says of them."""

import pickle
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.streams import make_images

from penstock.bench import comparison, loaders
from penstock.bench.command import main, prepare
from penstock.bench.comparison import comparison_chart, costs
from penstock.bench.loaders import Items, LoaderSource, open_spec, parse_loaders
from penstock.bench.report import too_short, write_report
from penstock.bench.results import BenchSettings, Candidate, Results, Run
from penstock.launcher.inline import InlineFeed
from penstock.protocol.errors import PenstockError, SpecError


def a_run(number: int, candidate: Candidate, per_s: float) -> Run:
    """Return a run of 4 s in which the ventilator took a tenth of a core and each other part more."""
    cores = {"ventilator_cores": 0.1, "sink_cores": 0.2, "trainer_cores": 0.4, "workers_cores": 1.0}
    usage = [{"time_s": 0.5 * n, "cpu_percent": 90.0, **cores} for n in range(1, 12)]
    return Run(number, candidate, int(per_s * 4), 10, 4.0, 1.0, 1.0, 5.0, 2.0, 3.0, usage)


def compared(rounds: int) -> Results:
    """Return results in which Penstock makes 1,000 samples a second, a DataLoader 800 and tf.data 500."""
    settings = BenchSettings.model_construct(rounds=rounds, spec="photos", against="torch,tfdata", warm_up=5, data=None)
    rates = {"penstock": 1000.0, "torch": 800.0, "tfdata": 500.0}
    candidates = [Candidate(library, workers) for library in rates for workers in (1, 2)]
    results = Results(settings, "Stream train, without training", "Some files.", candidates)
    for number in range(rounds):
        results.runs += [a_run(number, each, rates[each.library] * (1 + 0.1 * number)) for each in candidates]
    return results


def test_a_report_compares_loaders_in_words_and_in_a_picture(tmp_path: Path) -> None:
    """Ratios are of the same round and the same number of workers; the picture is one of several lines.

    Of 1.7 cores, a sample takes 1,932 µs at 880 samples a second, and 1,545 at ours.
    """
    write_report(compared(3), tmp_path)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "| DataLoader, 2 processes | 880 | 1.25 × | 1,932 | 1,545 |" in text
    assert "| tf.data, 1 thread | 550 | 2.00 × |" in text
    assert "](comparison.png)" in text
    pixels = np.asarray(Image.open(tmp_path / "comparison.png").convert("RGB"))
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50


def test_a_single_round_has_no_extremes(tmp_path: Path) -> None:
    """A median of one run is that run: it is not said to lie between itself and itself."""
    write_report(compared(1), tmp_path)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "| 1 worker | 4.00 (one round) |" in text
    assert "One round." in text
    assert "extremes" not in text


def test_the_terminal_shows_a_bar_for_each_loader() -> None:
    """The fastest has the longest one; what is not compared is not drawn."""
    lines = comparison_chart(compared(2))
    bars = {line.split("█")[0].strip(): line.count("█") for line in lines if "█" in line}
    assert {"Penstock, 2 workers": 40, "DataLoader, 2 processes": 32, "tf.data, 2 threads": 20}.items() <= bars.items()
    assert any(line.endswith("Penstock: 1.25 ×") for line in lines)
    alone = compared(1)
    alone.candidates = alone.candidates[:2]
    assert [] == comparison_chart(alone)


def test_runs_that_are_too_short_are_named_for_the_terminal_too() -> None:
    """An epoch of a small folder takes less than a second: that says little, and more epochs say more."""
    results = compared(1)
    assert () == too_short(results)
    results.runs[-1] = replace(results.runs[-1], duration_s=0.4)
    what, advice = too_short(results)
    assert what == "Timed for less than 1 s: tf.data, 2 threads."
    assert advice.endswith("give more --epochs or --batches.")


def test_a_path_where_nothing_is_may_have_been_meant_as_a_folder(tmp_path: Path) -> None:
    """The message names the path, and both things that could lie there."""
    with pytest.raises(SpecError, match="nowhere: no such file or folder") as refused:
        open_spec(str(tmp_path / "nowhere"))
    assert "a spec, which is a TOML file, or a folder of images" in str(refused.value)


def test_the_cost_of_a_sample_is_told_by_part() -> None:
    """A tenth of a core at 1,000 samples a second is 100 µs a sample; what hardly ran is not told."""
    run = a_run(0, Candidate("penstock", 1), 1000.0)
    found = costs([run])
    assert {"ventilator": 100.0, "sink": 200.0, "trainer": 400.0, "workers": 1000.0} == pytest.approx(found)
    for row in run.usage:
        row["ventilator_cores"] = 0.01
    assert "ventilator" not in costs([run])


def test_the_report_says_at_which_rate_a_part_fills_a_core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trainer's 400 µs are the most of what there is one of: 2,500 samples a second.

    One worker allows 1,000; two on two cores 1,176, since all parts together take 1,700 µs. Both stand beside what was
    measured.
    """
    monkeypatch.setattr(comparison, "usable_cores", lambda: {0, 1})
    write_report(compared(1), tmp_path)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "| 1 worker | 100.0 | 1000.0 | 200.0 | 400.0 | 2,500 | 1,000 | 1,000 |" in text
    assert "| 2 workers | 100.0 | 1000.0 | 200.0 | 400.0 | 2,500 | 1,176 | 1,000 |" in text
    assert "2 cores of this machine" in text


@pytest.mark.parametrize(
    ("workers", "cores", "expected"),
    [(1, 99, 500.0), (3, 99, 1500.0), (9, 99, 2000.0), (9, 4, 4 / 0.0029), (2, 1, 1 / 0.0029)],
)
def test_the_formula_is_that_of_the_page_on_capacity(workers: int, cores: int, expected: float) -> None:
    """The workers, then the trainer, then the cores are the least; without other parts, the workers alone."""
    cost = {"workers": 2000.0, "trainer": 500.0, "sink": 300.0, "ventilator": 100.0}
    assert pytest.approx(expected) == comparison.bound(cost, workers, cores)
    assert pytest.approx(1000.0) == comparison.bound({"workers": 1000.0}, 1, cores)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("torhc", "'torhc' is not known; there are: torch, tfdata"),
        ("tfdata,tfdata", "give each loader once, such as torch,tfdata"),
        (",", "give each loader once"),
    ],
)
def test_loaders_that_cannot_be_asked_for(text: str, words: str) -> None:
    """The message quotes the text and says what there is."""
    with pytest.raises(SpecError, match="--against") as refused:
        parse_loaders(text)
    assert words in str(refused.value)


def test_a_loader_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Before any run: the package, how to get it, and what to do without."""

    def without_torch(name: str) -> object:
        return None if name == "torch" else find_spec(name)

    monkeypatch.setattr(loaders, "find_spec", without_torch)
    with pytest.raises(PenstockError, match="penstock\\[torch\\]") as refused:
        prepare(BenchSettings.model_construct(spec=str(tmp_path), against="tfdata,torch", workers="1", rounds=1))
    assert "DataLoader needs torch, which is not installed here" in str(refused.value)
    assert "leave 'torch' out" in str(refused.value)


def test_keras_cases_and_trainings_are_not_compared(capsys: pytest.CaptureFixture[str]) -> None:
    """They have other rows; the command says so at once."""
    assert 2 == main(["jpegs", "--against", "tfdata"])
    assert "'jpegs' compares with Keras; give a spec or a folder" in capsys.readouterr().err


def test_other_loaders_get_the_samples_of_the_stream(tmp_path: Path) -> None:
    """Item by item, also in another process, they are those that the stream makes of a folder."""
    spec = open_spec(str(make_images(tmp_path / "photos", each=5, size=40)))
    items = pickle.loads(pickle.dumps(Items(spec, {})))  # noqa: S301 - as a DataLoader hands it to its processes
    feed = InlineFeed(spec, {})
    [batch] = feed.epoch(0)
    assert 10 == len(items) == len(batch["image"])
    for slot in range(len(items)):
        images, labels = items[slot]
        assert np.array_equal(batch["image"][slot], images[0])
        assert batch["label"][slot] == labels[0]


def test_a_bad_item_is_named(tmp_path: Path) -> None:
    """Other loaders set nothing apart: the run ends, with the file and the reason."""
    root = make_images(tmp_path / "photos", each=3, size=40)
    bad = next(root.rglob("*.jpg"))
    bad.write_bytes(b"no JPEG")
    items = Items(open_spec(str(root)), {})
    with pytest.raises(PenstockError, match="leave --against out") as failed:
        _ = [items[index] for index in range(len(items))]
    assert bad.name in str(failed.value)


def test_batches_of_items_are_counted_by_samples(tmp_path: Path) -> None:
    """Of 10 items, 4 in a batch, with one sample each: 3 batches, the last one of 2."""
    spec = open_spec(str(make_images(tmp_path / "photos", each=5, size=40)))
    stream = spec.streams["train"].model_copy(update={"batch_size": 4})
    items = Items(spec.model_copy(update={"streams": {"train": stream}}), {})
    source = LoaderSource(items, lambda size: iter([size, size, len(items) - 2 * size]))
    assert (10, 3, 4) == (source.samples, source.batches, source.batch_size)
    assert [4, 4, 2] == [next(batches) for batches in [iter(source)] for _ in range(3)]
