"""Boxes and masks through a whole stack: the same batches with any number of workers and after a resumption."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.imaging.detection import MORE_TARGETS, STEPS, TARGETS, write_set
from support.streams import digest, epochs, run_stack, take

from penstock.commands.check import main
from penstock.protocol.spec.spec import load_spec


def detection_spec(root: Path) -> dict[str, Any]:
    """Return the spec of a small detection set, whose fifth item has a bad box."""
    write_set(root, 12, {4: {"boxes": [[0, 0, 480, 10, "cat"]]}})
    stream = {
        "source": {"kind": "manifest", "root": "photos", "path": "list.jsonl", "label_column": ""},
        "transform": {"color": "gray", "steps": STEPS},
        "targets": TARGETS | MORE_TARGETS,
        "patches": 2,
        "batch_size": 5,
        "task_items": 2,
        "failure_budget": 0.2,
    }
    return {"seed": 7, "roots": {"photos": str(root)}, "streams": {"train": stream}}


@pytest.mark.slow
def test_targets_come_with_their_images_at_any_number_of_workers(tmp_path: Path) -> None:
    """1, 2 or 5 workers, or one that is killed: the same bytes; a position resumes; the ledger names the bad item."""
    spec, found = detection_spec(tmp_path / "set"), []
    for workers in (1, 2, 5):
        with run_stack(spec, workers, run_dir=tmp_path / f"run{workers}") as stack, stack.feed() as feed:
            found.append(epochs(feed, 2))
    assert 1 == len({digest(batches) for batches in found})
    with run_stack(spec, 2) as stack, stack.feed() as feed:
        first = take(feed, 1)
        stack.children["worker-0"].process.kill()
        assert digest(found[0]) == digest(first + take(feed, len(found[0]) - 1))
    assert 2 * 22 == sum(len(batch["boxes"]) for batch in found[0])
    with run_stack(spec, 2) as stack:
        with stack.feed() as feed:
            first = take(feed, 3)
            state = feed.state_dict()
        with stack.feed() as feed:
            feed.load_state_dict(state)
            rest = take(feed, 4)
    assert digest(found[0][:7]) == digest(first + rest)
    for batch in found[0]:
        for image, mask, item in zip(batch["image"], batch["mask"], batch["item"], strict=True):
            seen = mask != TARGETS["mask"].get("ignore", 255)
            assert np.array_equal((image[seen, 0].astype(int) - item) // 100, mask[seen])
    ledger = (tmp_path / "run1/quarantine.jsonl").read_text()
    assert (
        "list.jsonl, line 5: boxes (target boxes): box 0 = [0, 0, 480, 10, 'cat']"
        in json.loads(ledger.splitlines()[0])["reason"]
    )


def test_check_shows_the_fields_of_targets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`penstock check` lists them in the schema, with shapes and bytes."""
    (tmp_path / "spec.json").write_text(json.dumps(detection_spec(tmp_path / "set")))
    assert {"boxes", "mask", "pose", "caption"} == load_spec(tmp_path / "spec.json").streams["train"].targets.keys()
    assert 0 == main([str(tmp_path / "spec.json"), "--json"])
    schema = json.loads(capsys.readouterr().out)["streams"][0]["schema"]
    expected = {"boxes": 64, "boxes_count": 4, "boxes_label": 16, "mask": 1024}
    expected |= {"pose": 16, "pose_visible": 2, "caption": 24, "caption_bytes": 4}
    assert expected == {field["name"]: field["bytes"] for field in schema[4:]}
