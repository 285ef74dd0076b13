"""The units in deploy/systemd: what they call exists, they wait long enough for a drain, and systemd takes them."""

import configparser
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.protocol.runtime.settings import ServiceSettings, parse
from penstock.sink.settings import SinkSettings
from penstock.ventilator.settings import VentilatorSettings
from penstock.worker.service import WorkerSettings

PARTS: dict[str, tuple[str, type[ServiceSettings]]] = {
    "ventilator": ("penstock-ventilator.service", VentilatorSettings),
    "sink": ("penstock-sink.service", SinkSettings),
    "worker": ("penstock-worker@.service", WorkerSettings),
}
INSTALLED = "/opt/penstock/bin/penstock"


@pytest.fixture
def folder(root: Path) -> Path:
    """Return the folder of the units."""
    return root / "deploy" / "systemd"


def section(path: Path) -> dict[str, str]:
    """Return a unit's [Service] section; of what is given twice, the last."""
    unit = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # configparser's own way to keep capitals
    unit.read(path)
    return dict(unit["Service"])


@pytest.mark.parametrize("part", PARTS)
def test_a_unit_s_command_and_its_example_are_settings_that_exist(
    part: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flags and variables are parsed as the command itself would; the example uses keys and names what must be said."""
    name, model = PARTS[part]
    for variable in [name for name in os.environ if name.startswith("PENSTOCK_")]:
        monkeypatch.delenv(variable)
    for line in shlex.split((folder / f"{part}.env").read_text(), comments=True):
        variable, _, value = line.partition("=")
        assert variable.removeprefix("PENSTOCK_").lower() in model.model_fields
        monkeypatch.setenv(variable, value)
    command = shlex.split(section(folder / name)["ExecStart"].replace("%t", "/run").replace("%i", "1"))
    assert [INSTALLED, part] == command[:2]
    settings = parse(model, command[2:], part)
    assert "/etc/penstock/keys" == settings.keys
    assert not settings.insecure
    assert settings.health.startswith("/run/penstock-"), "a Unix socket, for its own user and root"
    if isinstance(settings, WorkerSettings):
        assert {"photos": "/mnt/photos"} == settings.root


def test_systemd_waits_for_a_worker_s_drain(folder: Path) -> None:
    """A drain of the default length, and what it takes to leave, fit before systemd kills it."""
    unit = section(folder / "penstock-worker@.service")
    assert "SIGTERM" == unit["KillSignal"]
    assert float(unit["TimeoutStopSec"]) >= WorkerSettings.model_fields["drain_s"].default + 5
    assert ("on-failure", "2") == (unit["Restart"], unit["RestartPreventExitStatus"])


@pytest.mark.parametrize("part", PARTS)
def test_systemd_takes_a_unit_and_finds_it_confined(part: str, folder: Path, tmp_path: Path) -> None:
    """`systemd-analyze verify` has nothing to say; `security` puts its exposure at no more than 2 of 10."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("NOT VERIFIED BY SYSTEMD: systemd-analyze is not here")
    unit = tmp_path / PARTS[part][0]
    command = Path(sys.executable).with_name("penstock")
    unit.write_text((folder / unit.name).read_text().replace(INSTALLED, f'"{command}"'))  # it may have a space
    analyze = ["systemd-analyze", "--no-pager"]
    verified = subprocess.run([*analyze, "verify", str(unit)], capture_output=True, text=True, check=False)
    assert (0, "") == (verified.returncode, verified.stdout + verified.stderr)
    judged = subprocess.run(
        [*analyze, "security", "--offline=true", str(unit)], capture_output=True, text=True, check=True
    )
    exposure = re.search(r"Overall exposure level for \S+: ([0-9.]+)", judged.stdout)
    assert exposure
    assert float(exposure[1]) <= 2
