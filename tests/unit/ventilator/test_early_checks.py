"""What is wrong with a ventilator's settings is said at once."""

import json
from pathlib import Path

import pytest
from support.streams import make_spec

from penstock.protocol.errors import SpecError
from penstock.ventilator.early_checks import check_early
from penstock.ventilator.service import main
from penstock.ventilator.settings import VentilatorSettings


def test_a_wrong_folder_of_a_standby_is_told_before_the_sources_are_listed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Listing takes minutes where there are many files. Here it would fail: the folder of images is not there."""
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps(make_spec(tmp_path / "none")))
    given = ["--spec", str(spec), "--bind", "tcp://127.0.0.1:0", "--standby", str(tmp_path / "missing")]
    assert 2 == main(given)
    said = capfd.readouterr().err
    assert "missing': no such folder; make one that every ventilator" in said
    assert "none" not in said


def test_bounds_of_workers_that_contradict_each_other_are_told_as_early() -> None:
    """The most is below the fewest."""
    with pytest.raises(SpecError, match="workers_most = 2 is below workers_least = 5"):
        check_early(VentilatorSettings(spec="spec.toml", workers_least=5, workers_most=2), has_keys=True)
