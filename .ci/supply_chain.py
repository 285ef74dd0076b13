"""What Penstock is made of: known weaknesses of the pinned packages (`audit`), and a list of them all (`sbom`).

    python .ci/supply_chain.py audit [--pins constraints.txt] [--osv-url URL]
    python .ci/supply_chain.py sbom [--pins constraints.txt] [--output build/sbom.json]

Owns only what the tools leave open. `pip-audit` counts a package that the service does not know as well as one without
weaknesses, and exits 0: behind a mirror of the index that has no such service, everything would look clean. Here each
pin must have been looked up. And the bill of materials must name every pin, else it is of another environment.
"""

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

#: Longest that looking everything up may take (s); one request (s).
LIMIT_S, REQUEST_S = 600, 15
#: Where weaknesses are looked up: what the first cannot tell is asked of the second.
SERVICES = ("pypi", "osv")
BIN = Path(sys.executable).parent


def main() -> int:
    """Run one of the two; return the exit status: 0, 1 (weaknesses, pins missing) or 2 (could not be found out)."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("audit", "sbom"))
    parser.add_argument("--pins", type=Path, default=Path("constraints.txt"))
    parser.add_argument("--osv-url", help="ask this service of OSV's interface, and no other")
    parser.add_argument("--output", type=Path, default=Path("build/sbom.json"))
    options = parser.parse_args()
    pins = dict(line.split("==") for line in options.pins.read_text(encoding="utf-8").split())
    wanted = {normalized(name): version for name, version in pins.items()}
    if options.what == "sbom":
        return sbom(wanted, options.output)
    return audit(wanted, options.pins, options.osv_url)


def normalized(name: str) -> str:
    """Return a package name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def audit(wanted: dict[str, str], pins: Path, osv_url: str | None) -> int:
    """Say which pins have known weaknesses, and which could not be looked up."""
    weak: dict[str, set[str]] = {}
    unknown, why = set(wanted), []
    for service in ("osv",) if osv_url else SERVICES:
        if not unknown:
            break
        found, problem = look_up(service, pins, osv_url)
        why += [f"{service}: {problem}"] if problem else []
        for package in found:
            name = normalized(package["name"])
            if "skip_reason" in package:
                why += [f"{service}: {package['skip_reason']}"]
                continue
            unknown.discard(name)
            for vulnerability in package["vulns"]:
                weak.setdefault(name, set()).add(vulnerability["id"])
    for name, ids in sorted(weak.items()):
        print(f"audit: {name} {wanted[name]} has known weaknesses: {', '.join(sorted(ids))}")
    if unknown:
        print(f"audit: NOT DONE: {len(unknown)} of {len(wanted)} pins of {pins} could not be looked up")
        for reason in why[:1] + [reason for reason in why[1:] if not reason.startswith(why[0].split(":")[0])][:1]:
            print(f"audit:   {reason}")
        print("audit: run it where pypi.org (its JSON interface) or api.osv.dev can be reached")
        return 2
    print(f"audit: {len(wanted)} pins of {pins} looked up, {len(weak)} with known weaknesses")
    return 1 if weak else 0


def look_up(service: str, pins: Path, osv_url: str | None) -> tuple[list[dict[str, Any]], str]:
    """Return what `pip-audit` found out from one service, and why it found out nothing, if so."""
    command: list[str | Path] = [
        BIN / "pip-audit",
        "--requirement",
        pins,
        "--no-deps",
        "--disable-pip",
        "--progress-spinner",
        "off",
    ]
    command += ["--format", "json", "--timeout", str(REQUEST_S), "--vulnerability-service", service]
    command += ["--osv-url", osv_url] if osv_url else []
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    if not done.stdout.startswith("{"):
        return [], (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
    dependencies: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    return dependencies, ""


def sbom(wanted: dict[str, str], output: Path) -> int:
    """Write the bill of materials of this environment (CycloneDX), and see that it is the pinned one."""
    output.parent.mkdir(parents=True, exist_ok=True)
    # Validation takes ten seconds and would examine the tool's output, not ours.
    command: list[str | Path] = [
        BIN / "cyclonedx-py",
        "environment",
        "--pyproject",
        "pyproject.toml",
        "--output-reproducible",
    ]
    command += ["--no-validate", "--output-file", output, sys.executable]
    subprocess.run(command, check=True, timeout=LIMIT_S)
    components = json.loads(output.read_text(encoding="utf-8"))["components"]
    held = {normalized(component["name"]): component["version"] for component in components}
    missing = [f"{name}=={version}" for name, version in wanted.items() if held.get(name) != version]
    if missing:
        print(f"sbom: {output} is of another environment than the pinned one: it lacks {', '.join(missing[:5])}")
        print("sbom: `make setup` brings .venv up to date")
        return 1
    print(f"sbom: {output} names {len(held)} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
