"""A stack on one machine whose parts were given no address."""

import subprocess
from pathlib import Path

import pytest
from support.services.running import PENSTOCK, running
from support.streams import DEADLINE_S, make_images

import penstock


def test_services_meet_without_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ventilator, sink, worker, `penstock status` and `penstock.connect()` find each other; other users cannot."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    photos = make_images(tmp_path / "photos", each=8)
    spec = tmp_path / "spec.toml"
    spec.write_text(
        f"[roots]\nphotos = '{photos}'\n[streams.train]\nbatch_size = 4\n[streams.train.source]\nkind = 'directory'\n"
        "root = 'photos'\n[streams.train.transform.resize]\nheight = 16\nwidth = 16\n"
    )
    services = (["ventilator", "--spec", str(spec)], ["sink"], ["worker"])
    with (
        running(*([PENSTOCK, *service] for service in services)),
        penstock.connect(timeout_s=DEADLINE_S) as feed,
    ):
        assert len(next(iter(feed))["image"]) > 0
        command = [PENSTOCK, "status", "--once", "--json"]
        status = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert (0, "") == (status.returncode, status.stderr)
    assert {"ventilator", "results", "trainers"} >= {path.name for path in (tmp_path / "penstock").iterdir()}
    assert 0o700 == (tmp_path / "penstock").stat().st_mode & 0o777
