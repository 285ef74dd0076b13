"""The predictions of `penstock check`, compared with running stacks."""

import json
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.streams import DEADLINE_S, make_images, make_spec, make_stream, run_stack, take, until

from penstock.commands.check import main
from penstock.launcher.stack import LocalStack

pytestmark = [pytest.mark.integration, pytest.mark.slow]

WORKERS = 2


def foretold(spec: dict[str, Any], folder: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Return what `penstock check` says of a spec."""
    (folder / "spec.json").write_text(json.dumps(spec), encoding="utf-8")
    assert 0 == main([str(folder / "spec.json"), "--workers", str(WORKERS), "--json"])
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    return told


def memory_mb(stack: LocalStack) -> float:
    """Return the resident memory (MB) of a stack's services, libraries that they share counted each time."""
    return sum(psutil.Process(child.process.pid).memory_info().rss for child in stack.children.values()) / 1e6


def quiet(stack: LocalStack, looks: list[list[Any]]) -> bool:
    """Return whether all have answered and nothing has moved over the last ten looks.

    The sink has taken nothing in, no worker holds anything, and the ventilator, with as much to do, hands nothing out.
    """
    states = stack.status()
    workers = [states[f"worker-{number}"] for number in range(WORKERS)]
    ready = all(state["ready"] for state in states.values())
    looks.append(
        [
            ready,
            states["ventilator"].get("streams"),
            states["sink"].get("results"),
            *(each.get("held") for each in workers),
        ]
    )
    at_rest = ready and [0] * WORKERS == looks[-1][3:]
    return at_rest and len(looks) > 10 and all(look == looks[-1] for look in looks[-10:])


@pytest.mark.parametrize(
    ("side", "changes"),
    [
        (128, {"transform": {"resize": {"height": 128, "width": 128}}, "patches": 1, "mix": 1, "window_mb": 60.0}),
        (400, {"patches": 40, "mix": 32, "task_items": 8, "window_mb": 30.0}),
    ],
    ids=["whole images", "many patches, mixed"],
)
def test_a_stack_whose_trainer_stands_still_fills_up_to_what_was_foretold_and_no_further(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], side: int, changes: dict[str, Any]
) -> None:
    """The services' memory stays below the sum (without the trainers' term), and the sink's window is really used."""
    spec = make_spec(make_images(tmp_path / "photos", each=150, size=side), train=make_stream(**changes))
    told = foretold(spec, tmp_path, capsys)
    terms = {term["where"]: term["mb"] for term in told["memory"]}
    bound = told["memory_mb"] - terms["trainers, train"]
    with run_stack(spec, workers=WORKERS) as stack:
        feed = stack.feed()
        take(feed, 3 * feed.batches_per_epoch // 2)
        looks: list[list[Any]] = []
        until(lambda: quiet(stack, looks), "the pipeline to fill up and stand still", 4 * DEADLINE_S)
        full = memory_mb(stack)
    assert terms["sink, train"] < full < bound


def test_the_order_foretold_is_what_a_trainer_gets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Path, label and patch of the first samples of two epochs."""
    spec = make_spec(make_images(tmp_path / "photos", each=20), train=make_stream(batch_size=8))
    [stream] = foretold(spec, tmp_path, capsys)["streams"]
    files = sorted(path.relative_to(tmp_path / "photos").as_posix() for path in (tmp_path / "photos").rglob("*.jpg"))
    with run_stack(spec, workers=1) as stack:
        feed = stack.feed()
        for epoch in (0, 1):
            batch = next(feed.next_epoch())
            got = [
                (files[item], label, patch)
                for item, label, patch in zip(
                    *(batch[name].tolist() for name in ("item", "label", "patch")), strict=True
                )
            ]
            shown = [entry for entry in stream["order"] if entry["epoch"] == epoch]
            assert [(entry["path"], entry["label"], entry["patch"]) for entry in shown] == got[: len(shown)]
