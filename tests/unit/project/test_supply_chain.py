"""`make audit` and `make sbom`: an audit that could look nothing up, or a list of something else, is never clean."""

import json
import subprocess
import sys
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

#: A weakness as a service of OSV's interface tells it.
WEAKNESS = {
    "id": "PYSEC-2026-1",
    "modified": "2026-01-01T00:00:00Z",
    "published": "2026-01-01T00:00:00Z",
    "details": "It leaks.",
    "affected": [{"package": {"name": "beta", "ecosystem": "PyPI"}, "versions": ["2.0"]}],
}


@contextmanager
def service(answers: Mapping[str, Mapping[str, Any]]) -> Generator[str]:
    """Answer as OSV does, by package; 404 for packages that `answers` lacks. Yields the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer = answers.get(asked["package"]["name"])
            body = json.dumps(answer or {}).encode()
            self.send_response(404 if answer is None else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's
            """Keep the test's output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1/query"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def run(root: Path, *arguments: str | Path) -> tuple[int, str]:
    """Run the script; return its exit status and what it said."""
    command = [sys.executable, root / ".ci" / "supply_chain.py", *arguments]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def pins(tmp_path: Path) -> Path:
    """Return a file with two pins."""
    path = tmp_path / "constraints.txt"
    path.write_text("alpha==1.0\nbeta==2.0\n")
    return path


def test_pins_without_weaknesses_pass(root: Path, pins: Path) -> None:
    """All were looked up, and the number says so."""
    with service({"alpha": {}, "beta": {}}) as url:
        status, said = run(root, "audit", "--pins", pins, "--osv-url", url)
    assert (0, True) == (status, f"audit: 2 pins of {pins} looked up, 0 with known weaknesses" in said), said


def test_a_weakness_is_named_and_fails_the_audit(root: Path, pins: Path) -> None:
    """With the package, its version and the number to look it up by."""
    with service({"alpha": {}, "beta": {"vulns": [WEAKNESS]}}) as url:
        status, said = run(root, "audit", "--pins", pins, "--osv-url", url)
    assert (1, True) == (status, "audit: beta 2.0 has known weaknesses: PYSEC-2026-1" in said), said


@pytest.mark.parametrize("known", [{"alpha": {}}, {}])
def test_an_audit_that_could_not_look_all_up_is_not_clean(
    known: dict[str, dict[str, Any]], root: Path, pins: Path
) -> None:
    """A service that is not there, or does not know a package, is no reason to be at ease."""
    with service(known) as url:
        status, said = run(root, "audit", "--pins", pins, "--osv-url", url)
    assert (2, True) == (status, "audit: NOT DONE" in said), said


def test_the_bill_of_materials_names_every_pin(root: Path, tmp_path: Path) -> None:
    """By name and version, with licences where packages tell them."""
    output = tmp_path / "build" / "sbom.json"
    status, said = run(root, "sbom", "--output", output)
    assert 0 == status, said
    told = json.loads(output.read_text())
    held = {f"{part['name']}=={part['version']}".lower().replace("_", "-") for part in told["components"]}
    pinned = (root / "constraints.txt").read_text().lower().replace("_", "-").split()
    assert set() == set(pinned) - held
    assert ("CycloneDX", "penstock") == (told["bomFormat"], told["metadata"]["component"]["name"])
    assert len([part for part in told["components"] if part.get("licenses")]) > len(pinned) // 2


def test_a_bill_of_another_environment_is_refused(root: Path, tmp_path: Path) -> None:
    """A pin that is not installed is named."""
    pins = tmp_path / "constraints.txt"
    pins.write_text("alpha==1.0\n")
    status, said = run(root, "sbom", "--pins", pins, "--output", tmp_path / "sbom.json")
    assert (1, True) == (status, "it lacks alpha==1.0" in said), said
