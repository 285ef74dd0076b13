"""What a benchmark is asked for, in which order it runs, and what its report says of given runs."""

import csv
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import pyplot as plt
from PIL import Image

from penstock.bench.command import main, parse_workers, prepare, schedule
from penstock.bench.plots import law_label, usage_figure
from penstock.bench.report import fit_law, idle_s, write_report
from penstock.bench.results import BenchSettings, Candidate, Results, Run
from penstock.bench.run import GeneratorSource, _samples
from penstock.protocol.errors import SpecError

#: Largest picture of a report (bytes).
PICTURE_BYTES = 200_000


def usage(seconds: float, busy: float) -> list[dict[str, float]]:
    """Return what a monitor would have seen of a run with one GPU."""
    return [
        {
            "time_s": 0.1 * n,
            "cpu_percent": 60.0,
            "trainer_cores": busy,
            "workers_cores": 0.5,
            "gpu0_percent": float(n % 100),
        }
        for n in range(1, int(seconds * 10) + 20)
    ]


def make_results(rounds: int = 3) -> Results:
    """Return results whose workers have 0.8 of their work in parallel."""
    candidates = [Candidate("keras", 0), *(Candidate("penstock", workers) for workers in (0, 1, 2))]
    seconds = {"Keras": 20.0, "in process": 12.0, "1 worker": 10.0, "2 workers": 6.0}
    settings = BenchSettings.model_construct(rounds=rounds, spec="in-memory", warm_up=5, train=False, data=None)
    results = Results(settings, "Images in memory, without training", "Some images.", candidates)
    for number, each in schedule(candidates, rounds):
        taken = seconds[str(each)] * (1.0 + 0.1 * number)
        run = Run(
            round=number,
            candidate=each,
            samples=3200,
            batches=100,
            duration_s=taken,
            first_batch_s=1.0,
            began_s=1.5,
            ended_s=1.5 + taken,
            step_median_ms=2.0,
            step_p95_ms=3.0,
            usage=usage(taken, 0.9),
        )
        results.runs.append(run)
    return results


def test_a_report_holds_every_run(tmp_path: Path) -> None:
    """Each run is a row of runs.csv, each candidate a row of the table; every picture is there and named."""
    results = make_results()
    write_report(results, tmp_path)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    with (tmp_path / "runs.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    expected = [(run.round + 1, run.candidate.library, run.candidate.workers, run.duration_s) for run in results.runs]
    found = [(int(row["round"]), row["library"], int(row["workers"]), float(row["duration_s"])) for row in rows]
    assert [pytest.approx(run) for run in expected] == found
    with (tmp_path / "usage.csv").open(encoding="utf-8") as file:
        assert sum(len(run.usage) for run in results.runs) == sum(1 for _ in csv.DictReader(file))
    for row in (
        "| Keras | 22.00 (20.00 to 24.00) | 145 | 1.00 × |",
        "| 2 workers | 6.60 (6.00 to 7.20) | 485 | 3.33 × |",
    ):
        assert row in text
    pictures = sorted(path.name for path in tmp_path.glob("*.png"))
    assert 6 == len(pictures)
    for name in pictures:
        assert f"]({name})" in text
        assert (tmp_path / name).stat().st_size < PICTURE_BYTES
        pixels = np.asarray(Image.open(tmp_path / name).convert("RGB"))
        assert (255, 255, 255) == tuple(pixels[0, 0])
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50
    assert "machine" in text.lower()
    assert str(tmp_path) not in text


@pytest.mark.slow
def test_a_report_says_which_rounds_its_pictures_show(tmp_path: Path) -> None:
    """Three panels have room in a picture: of more rounds, the first."""
    for rounds, words in (
        (3, "Processors and GPUs over time; between"),
        (4, "over time in the first 3 rounds; between"),
    ):
        write_report(make_results(rounds), tmp_path)
        assert words in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_the_law_is_that_of_the_runs() -> None:
    """10 s with one worker and 6 s with two are 0.8 in parallel, in every round."""
    law = fit_law(make_results())
    assert law is not None
    assert pytest.approx(0.8) == law.parallel
    assert law.error < 1e-9


def test_no_law_is_fitted_to_a_single_point(tmp_path: Path) -> None:
    """It would pass through it exactly; the report says what it takes."""
    assert fit_law(make_results(1)) is None
    write_report(make_results(1), tmp_path)
    assert "No law was fitted: that takes a run with 1 worker and two with more" in (tmp_path / "report.md").read_text()


@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_the_legend_lies_within_the_figure(rounds: int) -> None:
    """Also that of one round, whose figure is narrow."""
    runs = make_results(rounds).of(Candidate("penstock", 1))
    runs[0].usage[3] |= {"ventilator_cores": 0.1, "other_cores": 0.7, "sink_cores": 0.2}
    figure = usage_figure(runs, 2)
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert 0 <= box.x0 < box.x1 <= figure.bbox.width
    assert 0 <= box.y0 < box.y1 <= figure.bbox.height
    plt.close(figure)


def test_every_part_of_any_panel_is_in_the_legend() -> None:
    """A part that only one round has is named, and parts have the same colours and order in all panels."""
    runs = make_results().of(Candidate("penstock", 1))
    runs[0].usage[3]["ventilator_cores"] = 0.1
    for row in runs[1].usage:
        row |= {"other_cores": 0.7, "sink_cores": 0.2}
    runs[2].usage.clear()
    figure = usage_figure(runs, 2)
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert ["trainer", "workers", "sink", "ventilator", "other", "whole machine", "GPU 0"] == names
    first, second, empty = (
        [(area.get_label(), tuple(area.get_facecolor()[0])) for area in axes.collections] for axes in figure.axes[:3]
    )
    assert first == second
    assert names[:5] == [name for name, _ in first]
    assert 5 == len({color for _, color in first})
    assert [] == empty
    plt.close(figure)


@pytest.mark.parametrize(
    ("two_workers_s", "words", "label"),
    [
        ([5.0, 5.1, 5.0], "parallel fraction 0.99", "Amdahl, parallel fraction 0.99 ± 0.01"),
        (
            [10.5, 10.6, 10.5],
            "more workers were slower than one.",
            "Amdahl, parallel fraction -0.11 ± 0.01 (more workers",
        ),
        ([9.0, 11.0, 10.0], "do not show that more workers make a difference", "Amdahl, parallel fraction 0.00 ± 0.12"),
    ],
)
def test_a_law_that_says_nothing_good_is_told_as_it_is(
    two_workers_s: list[float], words: str, label: str, tmp_path: Path
) -> None:
    """Below 0 more workers were slower, near 0 it is uncertain: in the report and in the picture's legend."""
    results = make_results()
    one, two = Candidate("penstock", 1), Candidate("penstock", 2)
    for candidate, seconds in ((one, [10.0] * 3), (two, two_workers_s)):
        for taken, run in zip(seconds, results.of(candidate), strict=True):
            results.runs[results.runs.index(run)] = replace(run, duration_s=taken)
    write_report(results, tmp_path)
    assert words in (tmp_path / "report.md").read_text(encoding="utf-8")
    law = fit_law(results)
    assert law is not None
    assert law_label(law).startswith(label)


@pytest.mark.slow
def test_times_that_are_mostly_chance_are_called_so(tmp_path: Path) -> None:
    """Under a second, by the median of a candidate's runs; not otherwise."""
    results = make_results()
    write_report(results, tmp_path)
    assert "Timed for less" not in (tmp_path / "report.md").read_text(encoding="utf-8")
    for run in results.of(Candidate("penstock", 2)):
        results.runs[results.runs.index(run)] = replace(run, duration_s=0.4)
    write_report(results, tmp_path)
    report = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "**Timed for less than 1 s: 2 workers.** Such short times are mostly chance" in report


@pytest.mark.slow
def test_a_report_names_runs_in_which_nothing_worked_for_a_while(tmp_path: Path) -> None:
    """Seconds without processors and GPUs are told, with the run; not with a busy GPU, nor before the timed part."""
    results = make_results()
    write_report(results, tmp_path)
    assert "stood still" not in (tmp_path / "report.md").read_text(encoding="utf-8")
    run = next(run for run in results.runs if str(run.candidate) == "Keras" and run.round == 1)
    rows = [dict(row, cpu_percent=1.0, gpu0_percent=float(2.0 <= row["time_s"] < 5.0) * 99.0) for row in run.usage]
    assert idle_s(replace(run, usage=rows)) == pytest.approx(run.duration_s - 3.0, abs=0.3)
    rows = [dict(row, cpu_percent=1.0, gpu0_percent=0.0) if row["time_s"] < 4.5 else row for row in run.usage]
    results.runs[results.runs.index(run)] = replace(run, usage=rows)
    write_report(results, tmp_path)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    told = text.partition("**Runs that stood still, with the machine idle, while they were timed:**\n\n")[2].partition(
        "\n\n"
    )[0]
    assert ["- Keras, round 2: 2.8 s of 22.0 s"] == told.splitlines()


def test_without_one_worker_there_is_no_law_and_the_report_says_so(tmp_path: Path) -> None:
    """An interrupted benchmark may have no such run; its report says what is missing, too."""
    results = make_results(rounds=1)
    results.runs, results.cut_short = results.runs[:2], "It was interrupted."
    write_report(results, tmp_path)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "No law was fitted" in text
    assert "**Not complete: 2 of 4 runs.** It was interrupted." in text


@given(st.integers(1, 8), st.integers(1, 6))
def test_rounds_alternate(candidates: int, rounds: int) -> None:
    """Each candidate runs once a round, and its places sum up to about the same for all: drift meets all alike."""
    order = schedule([Candidate("penstock", n) for n in range(candidates)], rounds)
    assert [(r, n) for r in range(rounds) for n in range(candidates)] == sorted((r, each.workers) for r, each in order)
    if rounds % 2 == 0:
        sums = {sum(place for place, (_, each) in enumerate(order) if each.workers == n) for n in range(candidates)}
        assert 1 == len(sums)


def test_numbers_of_workers_are_read() -> None:
    """In any order; without any, from 0 to one a core, in doubling steps on large machines."""
    assert [0, 1, 4] == parse_workers("4,0, 1", cores=2)
    assert [0, 1, 2] == parse_workers("", cores=2)
    assert [0, 1, 2, 4, 8, 16] == parse_workers("", cores=16)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--workers", "0,two"], "--workers '0,two': give whole numbers with commas between them"),
        (["--workers", "-1"], "--workers '-1': -1 is not from 0 to 512"),
        (["--workers", "1,1"], "--workers '1,1': give each number once"),
        (["--rounds", "0"], "--rounds '0'"),
        (["--epochs", "1", "--batches", "10"], "give one of the two"),
        (["--data", "/photos"], "--data '/photos': only `penstock bench jpegs` takes it"),
        (["--stream", "train"], "--stream: 'in-memory' is no spec"),
    ],
)
def test_wrong_usage_is_an_error_in_words(
    options: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is started: exit status 2, and no report."""
    assert 2 == main(["in-memory", "-o", str(tmp_path / "report"), *options])
    assert words in capsys.readouterr().err
    assert [] == [*tmp_path.iterdir()]


def test_a_folder_of_images_that_is_not_there_is_an_error_in_words(tmp_path: Path) -> None:
    """Before Keras is imported."""
    with pytest.raises(SpecError, match="no such folder; give one with a folder of JPEG files a class"):
        prepare(BenchSettings(spec="jpegs", data=str(tmp_path / "nowhere")))


@pytest.mark.parametrize("output", ["/proc", "/proc/report", "/dev/null", "/dev/null/report"])
def test_an_output_that_cannot_be_written_is_found_before_anything_runs(
    output: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder that is there but takes no file, one that cannot be made, a file: exit status 2, in words."""
    assert 2 == main(["in-memory", "--workers", "0", "-o", output])
    said = capsys.readouterr()
    assert f"-o {output!r}: " in said.err
    assert "name a folder that can be written to" in said.err
    assert "" == said.out


def test_a_spec_that_is_not_there_is_an_error_in_words(tmp_path: Path) -> None:
    """And so is a stream that it does not have."""
    with pytest.raises(SpecError, match="nowhere"):
        prepare(BenchSettings(spec=str(tmp_path / "nowhere.toml")))


class Flow:
    """What either library's iterator shows of itself."""

    n, batch_size = 70, 32

    def __len__(self) -> int:
        """Return batches an epoch."""
        return math.ceil(self.n / self.batch_size)


@given(st.integers(0, 20), st.integers(0, 20))
def test_samples_of_batches_are_counted_across_epochs(first: int, more: int) -> None:
    """An epoch's last batch holds what is left of it."""
    sizes = [32, 32, 6] * 20
    assert sum(sizes[first : first + more]) == _samples(GeneratorSource(Flow()), first, first + more)
