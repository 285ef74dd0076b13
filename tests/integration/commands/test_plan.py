"""`penstock plan` measures a real stack and a real ventilator."""

import json
from pathlib import Path

import pytest
from support.streams import make_images, make_spec

from penstock.cli import main
from penstock.commands.planning.capacity import BUSY

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def test_plan_tells_what_a_job_needs_from_measured_costs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A worker costs more a sample than the sink, and a job that no ventilator can serve is said not to fit."""
    images, spec = make_images(tmp_path / "images", 60), tmp_path / "spec.json"
    spec.write_text(json.dumps(make_spec(images)), encoding="utf-8")
    command = ["plan", str(spec), "--samples-per-gpu", "100000", "--gpus", "8", "--seconds", "2", "--json"]
    command += ["--workers-per-node", "2"]
    assert 0 == main(command)
    told = json.loads(capsys.readouterr().out)
    costs, needs = told["costs"], {need["part"]: need for need in told["needs"]}
    assert costs["worker_s"] > costs["sink_s"] > 0
    assert 0 < costs["ventilator_s_per_task"] < 1
    assert costs["read_bytes"] > 0
    assert 800_000 == told["wanted"]
    assert needs["workers"]["count"] >= 800_000 * costs["worker_s"]
    assert not told["fits"], "no ventilator hands out so much"
    assert told["near"] == pytest.approx(2 * BUSY / costs["worker_s"] / 800_000), "one node: its two workers are near"
