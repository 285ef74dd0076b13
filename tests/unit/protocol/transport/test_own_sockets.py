"""The default addresses of one machine: a folder that only this user may enter, or an error."""

import os
import stat
from pathlib import Path

import pytest

from penstock.protocol.errors import SpecError
from penstock.protocol.transport.own_sockets import OWN_VENTILATOR, resolve, split


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder that XDG_RUNTIME_DIR names during a test."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path


def test_an_own_address_is_a_socket_in_a_private_folder(runtime: Path) -> None:
    """The folder is made with mode 0700, whatever the umask."""
    before = os.umask(0)
    try:
        assert f"ipc://{runtime}/penstock/ventilator" == resolve(OWN_VENTILATOR)
    finally:
        os.umask(before)
    assert 0o700 == stat.S_IMODE((runtime / "penstock").stat().st_mode)
    assert resolve(OWN_VENTILATOR) == resolve(OWN_VENTILATOR), "the folder is there already"


def test_without_a_runtime_folder_it_lies_below_tmp(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Named by the user's number, and not by TMPDIR, which may differ between two terminals."""
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert f"ipc:///tmp/penstock-{os.geteuid()}/results" == resolve("local:results")


def test_other_addresses_stay_as_they_are(runtime: Path) -> None:
    """Nothing is made for them."""
    for address in ("tcp://127.0.0.1:5555", "ipc:///x/y", "http://localhost:5550", ""):
        assert address == resolve(address)
    assert [] == list(runtime.iterdir())


@pytest.mark.parametrize("mode", [0o755, 0o710, 0o777, 0o707])
def test_a_folder_that_others_may_enter_is_refused(runtime: Path, mode: int) -> None:
    """Another user could have put a socket there; the words name the folder and say what to do."""
    (runtime / "penstock").mkdir()
    (runtime / "penstock").chmod(mode)
    with pytest.raises(SpecError, match=rf"^{runtime}/penstock is no folder that .* remove it; or set XDG_RUNTIME_DIR"):
        resolve(OWN_VENTILATOR)


def test_a_link_or_a_file_in_its_place_is_refused(runtime: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A link could lead into the folder of another user."""
    place = runtime / "penstock"
    place.symlink_to(tmp_path_factory.mktemp("elsewhere"))
    with pytest.raises(SpecError, match="is no folder that this user owns"):
        resolve(OWN_VENTILATOR)
    place.unlink()
    place.touch()
    with pytest.raises(SpecError, match=r"cannot make|is no folder"):
        resolve(OWN_VENTILATOR)


@pytest.mark.parametrize("address", ["local:", "local:a/b", "local:../x"])
def test_a_name_is_plain(address: str) -> None:
    """A name cannot lead out of the folder."""
    with pytest.raises(SpecError, match=rf"^address '{address}': give local:NAME"):
        resolve(address)


def test_a_runtime_folder_that_is_missing_is_an_error_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a logout, in a process that went on."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/no/such/folder")
    with pytest.raises(SpecError, match=r"^cannot make /no/such/folder/penstock.*No such file or directory; set XDG_"):
        resolve(OWN_VENTILATOR)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("tcp://a:1", ["tcp://a:1"]),
        ("tcp://a:1, tcp://b:2", ["tcp://a:1", "tcp://b:2"]),
        ("tcp://a:1,b:2,", ["tcp://a:1", "b:2", ""]),
        ("ipc:///run/a,b=1/ventilator", ["ipc:///run/a,b=1/ventilator"]),
        (
            "ipc:///run/a,b/one,ipc:///run/a,b/other,tcp://a:1",
            ["ipc:///run/a,b/one", "ipc:///run/a,b/other", "tcp://a:1"],
        ),
    ],
)
def test_addresses_are_told_apart_by_commas_but_those_of_a_path(given: str, found: list[str]) -> None:
    """A run folder may have any name."""
    assert found == split(given)
