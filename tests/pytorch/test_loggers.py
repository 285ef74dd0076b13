"""FeedLog with the real Weights & Biases (offline) and TensorBoard: what a training loop finds there afterwards."""

import importlib
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.streams import until

import penstock
from penstock.launcher.stack import LocalStack

pytestmark = [pytest.mark.integration, pytest.mark.torch, pytest.mark.filterwarnings("default")]

NUMBERS = {"penstock/samples_per_s", "penstock/wait_fraction", "penstock/copy_fraction"}


def pieces(data: bytes) -> Iterator[bytes]:
    """Yield the records of a LevelDB log with a header of 7 bytes: each in pieces with checksum, length and kind."""
    at, whole = 7, b""
    while at + 7 < len(data):
        if 32_768 - at % 32_768 < 7:  # the rest of a block is empty
            at += 32_768 - at % 32_768
        _, length, kind = struct.unpack_from("<IHB", data, at)
        if at + 7 + length > len(data):  # the rest is not written yet
            return
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole one, or the last piece
            yield whole
            whole = b""


def records(folder: Path) -> list[dict[str, Any]]:
    """Return what an offline run of Weights & Biases wrote to its file, one dict a step."""
    messages: Any = importlib.import_module("wandb.proto.wandb_internal_pb2")
    (file,) = folder.rglob("*.wandb")
    found = []
    for each in pieces(file.read_bytes()):
        record = messages.Record()
        record.ParseFromString(each)
        if record.HasField("history"):
            items = record.history.item
            found.append({item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items})
    return found


def test_a_loop_finds_its_numbers_in_both(stack: LocalStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fractions of 0 to 1, a rate, the copy to another device, and the verdict's word, at the steps they belong to."""
    monkeypatch.setenv("WANDB_SILENT", "true")
    wandb: Any = importlib.import_module("wandb")
    writer: Any = importlib.import_module("torch.utils.tensorboard").SummaryWriter(tmp_path / "board")
    run = wandb.init(mode="offline", project="penstock", dir=str(tmp_path))
    loader = stack.feed("train").torch("meta")
    log = penstock.FeedLog(loader, wandb=run, tensorboard=writer, every_steps=5, stack=stack)
    logged: list[dict[str, Any]] = []
    for _ in range(2):
        for _ in loader:
            logged.append(log.step(len(logged)))

    def reported() -> bool:
        """Train on, and return whether the ventilator shows the time of copies."""
        return bool(list(loader)) and any(trainer.copy_fraction for trainer in stack.snapshot().trainers)

    until(reported, "the copies to be reported")
    run.finish()
    writer.close()
    expected = {step: each for step, each in enumerate(logged) if each}
    assert [4, 9, 14, 19, 24, 29] == list(expected)
    assert all(NUMBERS <= each.keys() and 0 <= each["penstock/wait_fraction"] <= 1 for each in expected.values())
    assert all(each["penstock/copy_fraction"] > 0 for each in expected.values())
    words = [each["penstock/verdict"] for each in expected.values() if "penstock/verdict" in each]
    assert words
    assert "unknown" not in words
    # The run is finished when its process has everything, which it then writes.
    until(lambda: len(records(tmp_path)) >= len(expected), "the run's file")
    got = {each["_step"]: {name: each[name] for name in expected[each["_step"]]} for each in records(tmp_path)}
    assert expected == got
    board: Any = importlib.import_module("tensorboard.backend.event_processing.event_accumulator").EventAccumulator(
        str(tmp_path / "board")
    )
    board.Reload()
    assert NUMBERS == set(board.Tags()["scalars"])
    shown = {event.step: event.value for event in board.Scalars("penstock/wait_fraction")}
    assert {step: pytest.approx(each["penstock/wait_fraction"]) for step, each in expected.items()} == shown
