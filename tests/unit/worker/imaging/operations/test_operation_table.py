"""The table of operations: what it lists, and that hosts without an image library can read it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from penstock.protocol.errors import SpecError
from penstock.protocol.spec.operation import literal
from penstock.protocol.spec.operation_table import manipulation_models, step_models
from penstock.protocol.spec.spec import parse_spec

SOURCE = {"kind": "directory", "root": "photos"}


@pytest.mark.parametrize(("models", "field"), [(manipulation_models(), "kind"), (step_models(), "op")])
def test_each_operation_stands_in_the_table_under_its_own_name(models: dict[str, type[BaseModel]], field: str) -> None:
    """The key by which the table lists a model is the value that the spec gives."""
    assert models
    assert list(models) == [literal(model, field) for model in models.values()]


def test_reading_a_spec_imports_no_image_library() -> None:
    """Sinks and trainers read specs; of `worker.imaging` they import the operations' settings and nothing else."""
    program = "import sys, penstock.protocol.spec.spec; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert set() == {"cv2", "PIL", "simplejpeg", "zmq"} & set(modules)
    imaging = [name for name in modules if name.startswith("penstock.worker.imaging.")]
    assert "penstock.worker.imaging.operations.gamma" in imaging
    assert [] == [name for name in imaging if not name.startswith("penstock.worker.imaging.operations")]


def test_reading_a_spec_imports_the_steps_that_it_has(tmp_path: Path) -> None:
    """All of them would take each process of a stack a tenth of a second."""
    program = (
        "import json, sys; from penstock.protocol.spec.spec import parse_spec\n"
        "parse_spec(json.loads(sys.argv[1])); print(*sys.modules)"
    )
    transform = {"resize": {"height": 8, "width": 8}, "steps": [{"op": "one_of", "steps": [{"op": "flip"}]}]}
    spec = json.dumps({"streams": {"train": {"source": SOURCE, "transform": transform}}})
    command = [sys.executable, "-c", program, spec]
    modules = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout.split()
    folder = "penstock.worker.imaging.operations."
    assert {f"{folder}policies.choices", f"{folder}geometry.flip"} <= set(modules)
    assert set() == {f"{folder}geometry.elastic", f"{folder}policies.rand_augment", f"{folder}color.enhance"} & set(
        modules
    )


def deep(depth: int) -> dict[str, Any]:
    """Return a step in so many others."""
    step: dict[str, Any] = {"op": "flip"}
    for _ in range(depth):
        step = {"op": "one_of", "steps": [step]}
    return step


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        (
            [{"op": "flap"}],
            "steps.0: Input tag 'flap' found using 'op' does not match any of the expected tags: 'affine', ",
        ),
        ([{"op": "flip", "p": 1.5}], "steps.0.p = 1.5"),
        ([{"op": "flip", "directions": "vertical"}], "did you mean 'direction'"),
        ([{"op": "flip", "key": "a"}, {"op": "flip", "key": "a"}], "2 steps have key = 'a'"),
        ([{"p": 0.5}], "steps.0: Unable to extract tag using discriminator 'op'"),
        (["flip"], "steps.0 = 'flip': must be a table"),
        ([{"op": "one_of", "steps": [{"op": "flip", "p": 1.5}]}], "steps.0.steps.0.p = 1.5"),
        ([deep(300)], "Recursion error"),
    ],
)
def test_a_wrong_step_is_refused_with_its_field_and_value(steps: list[dict[str, Any]], words: str) -> None:
    """As every other field of the spec."""
    transform = {"resize": {"height": 8, "width": 8}, "steps": steps}
    with pytest.raises(SpecError, match=words):
        parse_spec({"streams": {"train": {"source": SOURCE, "transform": transform}}})
