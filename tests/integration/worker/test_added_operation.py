"""Adding an operation as CONTRIBUTING says: a module and a line of the table, then a real stack that uses it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.extensions.extended import copy_project, insert_after
from support.streams import DEADLINE_S, make_images, make_spec, make_stream

from penstock.protocol.order import sample_generator
from penstock.worker.imaging.steps import purpose_of

pytestmark = pytest.mark.integration

STEP = '''"""Adds a random number to every level."""

from typing import Literal

import numpy as np

from penstock.protocol.spec.operation import Pixels
from penstock.protocol.spec.step import Float64s, PixelStep


class Add(PixelStep):
    """Add a whole number below `below`, modulo 256."""

    op: Literal["add"]
    """Name of the operation."""
    below: int = 200
    """Upper bound of the number."""

    @property
    def uniforms(self) -> int:
        """One: the number."""
        return 1

    def apply(self, pixels: Pixels, draws: Float64s) -> Pixels:
        """Return the changed sample."""
        return pixels + np.uint8(draws[0] * self.below)
'''
MANIPULATION = '''"""The negative of an image."""

from typing import Literal

from penstock.protocol.spec.operation import Kernel, Manipulation, Pixels, Unchanged, Window


class Negative(Manipulation):
    """Every level becomes 255 less itself."""

    kind: Literal["negative"]
    """Kind of the manipulation."""

    @property
    def name(self) -> str:
        """Short name."""
        return "negative"

    def kernel(self) -> Kernel:
        """Return what computes its patches."""
        return _Inverted()


class _Inverted(Unchanged):
    def cut(self, pixels: Pixels, window: Window) -> Pixels:
        return 255 - window.of(pixels)
'''
PROGRAM = """
import json, sys
import numpy as np
import penstock

assert penstock.__file__.startswith(sys.argv[2]), penstock.__file__
fields = {}
spec = json.loads(sys.argv[1])
with penstock.local(spec, workers=2) as stack:
    for stream in spec["streams"]:
        with stack.feed(stream) as feed:
            for batch in feed:
                for name, array in batch.items():
                    fields.setdefault(f"{stream}/{name}", []).append(np.array(array))
np.savez(sys.argv[3], **{name: np.concatenate(arrays) for name, arrays in fields.items()})
"""

RESIZE = {"resize": {"height": 12, "width": 16}}
STEPS = [{"op": "flip", "p": 0.5}, {"op": "add", "below": 100, "p": 0.6}]
STREAMS: dict[str, dict[str, Any]] = {
    "plain": make_stream(transform={**RESIZE, "steps": STEPS[:1]}, patches=1),
    "changed": make_stream(transform={**RESIZE, "steps": STEPS}, patches=1),
    "every": make_stream(
        transform={
            "patch": {"kind": "random", "height": 12, "width": 16},
            "manipulations": {"choices": [{"kind": "negative"}], "every": True},
        },
    ),
}
Fields = dict[str, np.ndarray[Any, Any]]


@pytest.fixture(scope="module")
def project(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a copy of the project that has two more operations; four files differ from ours."""
    folder = tmp_path_factory.mktemp("project")
    package = copy_project(root, folder)
    operations = package / "worker" / "imaging" / "operations"
    table = package / "protocol" / "spec" / "operation_table.py"
    (operations / "add.py").write_text(STEP)
    insert_after(table, '    "flip": "geometry.flip:Flip",', '    "add": "add:Add",')
    (operations / "negative.py").write_text(MANIPULATION)
    insert_after(table, '    "rot90": "rotate:Rotate",', '    "negative": "negative:Negative",')
    return folder


@pytest.fixture(scope="module")
def fields(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Fields:
    """Return the fields of one epoch of each stream, by `stream/field`, from a real stack of the copied project."""
    folder = tmp_path_factory.mktemp("epoch")
    spec, out = {**make_spec(make_images(folder / "photos", each=10)), "streams": STREAMS}, folder / "fields.npz"
    command = [sys.executable, "-c", PROGRAM, json.dumps(spec), str(project), str(out)]
    environment = {**os.environ, "PYTHONPATH": str(project)}
    subprocess.run(command, cwd=project, env=environment, check=True, timeout=4 * DEADLINE_S)
    with np.load(out) as arrays:
        return dict(arrays)


def test_an_added_step_reaches_the_trainer_with_numbers_of_its_own(fields: Fields) -> None:
    """Each sample is changed, or not, as the step's own generator says."""
    assert fields["plain/item"].tolist() == fields["changed/item"].tolist()
    numbers = []
    rows = zip(fields["plain/item"].tolist(), fields["plain/image"], fields["changed/image"], strict=True)
    for item, before, image in rows:
        chance, draw = sample_generator(11, 0, item, 0, purpose_of("add#0")).random(2)
        numbers.append(int(draw * 100) if chance < 0.6 else 0)
        assert np.array_equal(before + np.uint8(numbers[-1]), image)
    assert 0 in numbers
    assert len(set(numbers)) > 5


def test_an_added_manipulation_brings_a_field_of_its_own(fields: Fields) -> None:
    """A spec that asks for every manipulation delivers it with the unchanged image."""
    assert (60, 12, 16, 3) == fields["every/img"].shape
    assert np.array_equal(255 - fields["every/img"], fields["every/negative"])


def test_an_operation_that_is_in_no_table_is_refused_with_those_that_are(project: Path, tmp_path: Path) -> None:
    """The error of the copied project names the added operation; ours does not know it."""
    spec = make_spec(
        tmp_path, train=make_stream(transform={"resize": {"height": 8, "width": 8}, "steps": [{"op": "x"}]})
    )
    program = (
        "import json, sys; from penstock.protocol.spec.spec import parse_spec; parse_spec(json.loads(sys.argv[1]))"
    )
    environment = {**os.environ, "PYTHONPATH": str(project)}
    command = [sys.executable, "-c", program, json.dumps(spec)]
    done = subprocess.run(
        command, cwd=project, env=environment, capture_output=True, text=True, check=False, timeout=DEADLINE_S
    )
    assert "steps" in done.stderr.splitlines()[-1]
    assert "'flip', 'add', " in done.stderr
