"""The scripts of the images, outside of containers: what the one-shot services leave, and what they say."""

import json
import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from penstock.protocol.errors import SpecError
from penstock.protocol.runtime.health import Health
from penstock.protocol.transport.keys import ROLES, KeyRing


def run(root: Path, script: str, *arguments: str | Path) -> tuple[int, str]:
    """Run a script of deploy/; return its exit status and what it said."""
    command = [sys.executable, root / "deploy" / script, *arguments]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def volumes(tmp_path: Path) -> Path:
    """Return a folder as `keys` mounts its volumes: one for all keys, one a role."""
    for name in ("all", *ROLES):
        (tmp_path / name).mkdir()
    return tmp_path


def contents(folder: Path) -> dict[str, str]:
    """Return all files below a folder."""
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_each_role_gets_its_own_secret_and_no_other(root: Path, volumes: Path) -> None:
    """Services know all public keys, others those of the services: enough to run, and no more."""
    assert (0, True) == ((done := run(root, "share_keys.py", volumes))[0], "made keys" in done[1])
    for role in ROLES:
        folder = volumes / role / "stack"
        assert [f"{role}.toml"] == [path.name for path in (folder / "secret").iterdir()]
        ring = KeyRing(folder, role)
        assert KeyRing(volumes / "all" / "stack", role).own == ring.own
        for other in set(ROLES) - {role}:
            with pytest.raises(SpecError, match="need one secret key"):
                KeyRing(folder, other)
    assert {"ventilator.toml", "sink.toml", "worker.toml"} == {
        path.name for path in (volumes / "worker" / "stack" / "public").iterdir()
    }


def test_keys_are_shared_again_without_being_made_again(root: Path, volumes: Path) -> None:
    """Also after a run that was killed, of which something is left."""
    assert 0 == run(root, "share_keys.py", volumes)[0]
    before = contents(volumes)
    for name in ("all", "worker"):
        (volumes / name / "new" / "secret").mkdir(parents=True)
    status, said = run(root, "share_keys.py", volumes)
    assert (0, 1) == (status, len(said.splitlines())), "all that it says is where the dashboard is"
    assert before == contents(volumes)


def test_added_and_revoked_keys_reach_the_services(root: Path, volumes: Path) -> None:
    """The folders that running services look at are changed in place."""
    assert 0 == run(root, "share_keys.py", volumes)[0]
    folder = volumes / "sink" / "stack"
    inode = (folder / "public").stat().st_ino
    assert 0 == run(root, "share_keys.py", volumes, "add", "trainer-2")[0]
    assert (folder / "public" / "trainer-2.toml").exists()
    assert 0 == run(root, "share_keys.py", volumes, "revoke", "trainer-2")[0]
    assert not (folder / "public" / "trainer-2.toml").exists()
    assert inode == (folder / "public").stat().st_ino
    assert 2 == run(root, "share_keys.py", volumes, "revoke", "trainer-2")[0]


def test_the_dashboard_s_address_is_said_with_a_token_that_stays(root: Path, volumes: Path) -> None:
    """Only the ventilator gets the token; `penstock keys` does not show it again."""
    status, said = run(root, "share_keys.py", volumes)
    [(address, token)] = re.findall(r"^\S+ dashboard: (\S+)\?token=(\S+)$", said, re.MULTILINE)
    assert (0, "http://127.0.0.1:5550/") == (status, address)
    file = volumes / "ventilator" / "dashboard-token"
    assert (token, 0o600) == (file.read_text().strip(), file.stat().st_mode & 0o777)
    assert token in run(root, "share_keys.py", volumes)[1]
    assert token not in run(root, "share_keys.py", volumes, "list")[1]
    assert [file] == [path for path in volumes.rglob("*") if path.is_file() and token in path.read_text()]
    file.chmod(0o644)
    status, said = run(root, "share_keys.py", volumes)
    assert (1, True) == (status, "chmod 600" in said), said


def test_images_are_made_once_and_a_spec_is_told_in_a_line_a_stream(root: Path, tmp_path: Path) -> None:
    """With the spec that Compose takes where no other is given."""
    spec, folder = root / "deploy" / "spec.toml", tmp_path / "images"
    status, said = run(root, "prepare_images.py", spec, folder)
    assert (0, True) == (status, "made 400 JPEG files" in said), said
    assert "stream train: 320 items of 4 classes, 40 batches an epoch" in said
    assert [folder] == list(tmp_path.iterdir())
    status, said = run(root, "prepare_images.py", spec, folder)
    assert (0, False) == (status, "made" in said), said


def test_data_that_is_a_file_is_said_in_words(root: Path, tmp_path: Path) -> None:
    """Compose mounts it as it would a folder."""
    (tmp_path / "images").write_text("no folder")
    status, said = run(root, "prepare_images.py", root / "deploy" / "spec.toml", tmp_path / "images", "--yours")
    assert (2, "DATA is a file; give the folder that holds a folder of images for each class") == (
        status,
        said.strip().partition("error: ")[2],
    )


def test_a_command_that_leaves_data_out_is_refused_and_another_data_is_not(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`up --scale` in another shell must not continue on generated images what was begun on the user's."""
    settle, settings = runpy.run_path(str(root / "deploy" / "prepare_images.py"))["settle"], tmp_path / "settings.json"
    for data in ("./photos", "./photos", "/other"):
        monkeypatch.setenv("DATA", data)
        assert "" == settle(settings)
    recorded = settings.read_text()
    monkeypatch.delenv("DATA")
    assert "started with DATA=/other, which this command leaves out. Repeat it with DATA=/other" in settle(settings)
    assert recorded == settings.read_text()


@pytest.mark.parametrize(("said", "before", "expected"), [("", "", 3), ("7", "", 7), ("", "7", 7), ("9", "7", 9)])
def test_a_command_without_epochs_wants_what_was_said_before(
    root: Path, tmp_path: Path, said: str, before: str, expected: int
) -> None:
    """Leaving EPOCHS out of a later command ends no training early."""
    wanted = runpy.run_path(str(root / "deploy" / "train.py"))["wanted"]
    if before:
        wanted(tmp_path, before)
    assert expected == wanted(tmp_path, said)
    assert expected == wanted(tmp_path, "")


@pytest.mark.parametrize("epochs", ["0", "-1", "many", "1.5"])
def test_epochs_that_are_no_number_are_refused(root: Path, tmp_path: Path, epochs: str) -> None:
    """With the value, and what to give."""
    wanted = runpy.run_path(str(root / "deploy" / "train.py"))["wanted"]
    with pytest.raises(SpecError, match=f"EPOCHS={epochs}: give a whole number, 1 or more"):
        wanted(tmp_path, epochs)


def test_requirements_are_those_of_the_named_extras(root: Path) -> None:
    """And a name that is none is refused with those that are."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (0, [*project["dependencies"], *project["optional-dependencies"]["hdf5"]]) == (
        (done := run(root, "requirements.py", "base", "hdf5"))[0],
        done[1].splitlines(),
    )
    status, said = run(root, "requirements.py", "hdf6")
    assert (1, True) == (status, "no extra 'hdf6'; there are: base" in said)


def test_a_folder_is_writable_or_the_user_is_told(root: Path, tmp_path: Path) -> None:
    """Nothing is left in it."""
    assert (0, "") == run(root, "check_output.py", tmp_path)
    assert [] == list(tmp_path.iterdir())
    status, said = run(root, "check_output.py", tmp_path / "none")
    assert (2, True) == (status, bool(re.match(r"OUTPUT cannot be written by user \d+:\d+", said)))


def test_a_probe_of_nobody_fails_in_words(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine shows them in `docker inspect`."""
    monkeypatch.setenv("PENSTOCK_HEALTH", "127.0.0.1:1")
    status, said = run(root, "probe.py")
    assert (1, True) == (status, said.startswith("no answer from 127.0.0.1:1: ")), said


@pytest.mark.parametrize(("asked", "expected"), [((), 1), (("--alive",), 0)])
def test_a_service_that_waits_is_alive(
    root: Path, asked: tuple[str, ...], expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not ready, which Compose asks; a swarm, which ends what is unhealthy, asks whether it answers."""
    health = Health("127.0.0.1:0", lambda: {"ready": False, "why": "waiting for the ventilator"})
    try:
        monkeypatch.setenv("PENSTOCK_HEALTH", health.url.removeprefix("http://").removesuffix("/healthz"))
        status, said = run(root, "probe.py", *asked)
    finally:
        health.close()
    assert (expected, "waiting for the ventilator") == (status, json.loads(said)["why"])


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "[::1]", "[::]"])  # noqa: S104 - on purpose
def test_a_probe_finds_the_service_wherever_it_listens(root: Path, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that listens on all addresses, IPv6 included, is asked on its own."""
    health = Health(f"{host}:0", lambda: {"ready": True})
    try:
        monkeypatch.setenv("PENSTOCK_HEALTH", health.url.removeprefix("http://").removesuffix("/healthz"))
        health.turn()
        status, said = run(root, "probe.py")
    finally:
        health.close()
    assert (0, True) == (status, json.loads(said)["ready"])
