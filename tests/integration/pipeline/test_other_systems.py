"""A local stack where Linux's own features are missing, as on macOS: the same samples, and one sentence."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.streams import DEADLINE_S, make_images

pytestmark = pytest.mark.integration

PROGRAM = """
import json, os, sys, time, warnings
import numpy, penstock
images = numpy.arange(12 * 8 * 8 * 3, dtype=numpy.uint8).reshape(12, 8, 8, 3)
common = {"batch_size": 4, "shuffle": False, "transform": {"resize": {"height": 8, "width": 8}}}
files = {"kind": "directory", "root": "images", "allow_outside": False}
arrays = {"kind": "arrays", "images": images, "labels": numpy.arange(12)}
streams = {"files": {**common, "source": files}, "arrays": {**common, "source": arrays}}
facts = {"memfd": hasattr(os, "memfd_create")}
spec = {"roots": {"images": sys.argv[1]}, "streams": streams}
with warnings.catch_warnings(record=True) as warned, penstock.local(spec, workers=1) as stack:
    with stack.feed("arrays") as feed:
        facts["same"] = [bool((batch["image"] == images[batch["label"]]).all()) for batch in feed]
    with stack.feed("files") as feed:
        facts["labels"] = [int(label) for batch in feed for label in batch["label"]]
    until = time.monotonic() + 30
    while not (sink := stack.status()["sink"])["ready"] and time.monotonic() < until:
        time.sleep(0.05)  # the sink shows what it observed up to 0.1 s ago
    facts["segments"] = sink["sharing"]["segments"]
facts["warned"] = [str(each.message) for each in warned]
print(json.dumps(facts))
"""


def test_a_stack_runs_without_what_only_linux_has(root: Path, tmp_path: Path) -> None:
    """Files and arrays arrive through sockets as they are; one sentence says what is missing, and nothing is shared."""
    folder = make_images(tmp_path / "images", each=4, size=16)
    (folder / "cat" / "0004.jpg").symlink_to(folder / "cat" / "0000.jpg")  # a link that stays within the root
    done = subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM, str(folder)],
        env={**os.environ, "PYTHONPATH": str(root / "tests" / "support" / "other_system")},
        capture_output=True,
        text=True,
        timeout=2 * DEADLINE_S,
        check=False,
    )
    assert 0 == done.returncode, done.stderr
    facts = json.loads(done.stdout)
    (sentence,) = facts.pop("warned")
    assert "no memfd or no /proc: samples are copied through sockets" in sentence
    assert {"memfd": False, "same": [True] * 3, "labels": [0] * 5 + [1] * 4, "segments": 0} == facts
