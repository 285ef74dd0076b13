"""`penstock doctor`: what it finds on this machine, and on others, and what it says to do."""

import json
import platform
import resource
import socket

import pytest

from penstock.commands import doctor


def found(check: str) -> dict[str, doctor.Finding]:
    """Return the findings of one check by their names."""
    return {finding.what: finding for finding in getattr(doctor, check)()}


def test_versions_decoders_memory_limits_ports_and_docker_are_all_told(capsys: pytest.CaptureFixture[str]) -> None:
    """As JSON and as lines; nothing on this machine keeps Penstock from working."""
    assert 0 == doctor.main(["--json"])
    told = {finding["what"]: finding for finding in json.loads(capsys.readouterr().out)}
    assert {
        "penstock",
        "packages",
        "parts of JPEGs",
        "loops over pixels",
        "shared memory",
        "open files",
        "port 5555",
        "Docker",
    } <= set(told)
    assert all(finding["advice"] for finding in told.values() if finding["state"] != "ok")
    assert 0 == doctor.main([])
    assert f"Python {platform.python_version()}" in capsys.readouterr().out


def test_a_port_that_is_taken_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that shows what runs."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setattr(doctor, "_PORTS", {port: "ventilator"})
        finding = found("ports")[f"port {port}"]
    assert ("hint", "taken", True) == (finding.state, finding.found, "penstock status" in finding.advice)


def test_a_low_limit_of_open_files_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the limit, the commands that raise it, and exit status 1."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 256))
    assert 1 == doctor.main([])
    told = capsys.readouterr().out
    assert "at most 256" in told
    assert "ulimit -n" in told


def test_a_processor_without_shared_memory_gets_a_word_and_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    """ARM keeps no order of stores that Python could rely on."""
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    finding = found("memory")["shared memory"]
    assert ("hint", "not used on Linux aarch64") == (finding.state, finding.found)
    assert "through sockets" in finding.advice


def test_a_missing_extra_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """And a missing package of the base is a problem."""
    monkeypatch.setattr(doctor, "_version", lambda name: "" if name in ("h5py", "numpy") else "1.0")
    findings = found("packages")
    assert "pip install 'penstock[hdf5]'" in findings["hdf5"].advice
    assert ("problem", True) == (findings["packages"].state, "numpy" in findings["packages"].advice)


def test_without_docker_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is only needed for containers."""
    monkeypatch.setenv("PATH", "")
    assert ("hint", "no docker command") == ((one := found("docker")["Docker"]).state, one.found)
