"""Bad files end to end: the stream goes on, every item that failed is named in the ledger, and the accounts add up."""

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from support.images import huge_jpeg, huge_png
from support.streams import Batch, digest, epochs, make_images, make_spec, make_stream, run_stack, take, told, until

from penstock.launcher.stack import LocalStack
from penstock.protocol.errors import FailureBudgetError

pytestmark = pytest.mark.integration

#: Whole images, one sample an item, no failure is too many.
WHOLE: dict[str, Any] = {
    "transform": {"resize": {"height": 32, "width": 32}},
    "patches": 1,
    "mix": 1,
    "batch_size": 8,
    "failure_budget": 0.9,
}


def spoil(folder: Path) -> dict[str, str]:
    """Add bad files to a folder; return for each a word of its reason."""
    good = (folder / "0000.jpg").read_bytes()
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("this is not a picture\n" * 20)
    (folder / "truncated.jpg").write_bytes(good[: len(good) // 2])
    (folder / "header-only.jpg").write_bytes(good[:200])
    (folder / "huge.jpg").write_bytes(huge_jpeg())
    (folder / "huge.png").write_bytes(huge_png())
    (folder / "directory.jpg").mkdir()
    return {
        "empty.jpg": "empty",
        "text.jpg": "",
        "truncated.jpg": "truncated",
        "header-only.jpg": "",
        "huge.jpg": "max_megapixels",
        "huge.png": "max_megapixels",
    }


def ledger(stack: LocalStack, epoch: int = 0) -> dict[str, dict[str, Any]]:
    """Return the quarantine ledger's entries for one epoch by path."""
    entries = [json.loads(line) for line in stack.quarantine.read_text(encoding="utf-8").splitlines()]
    found = [entry for entry in entries if entry["epoch"] == epoch]
    by_path = {entry["path"]: entry for entry in found}
    assert len(by_path) == len(found), "an item stands in the ledger once an epoch"
    return by_path


def test_every_kind_of_bad_file_is_quarantined_with_its_reason(tmp_path: Path) -> None:
    """Once an epoch each, with path, reason, attempts and worker; all good ones arrive, at any number of workers."""
    photos = make_images(tmp_path / "photos", each=20)
    bad = {f"dog/{name}": word for name, word in spoil(photos / "dog").items()}
    spec = make_spec(photos, train=make_stream(**WHOLE))
    digests = []
    for workers in (1, 3):
        with run_stack(spec, workers=workers) as stack:
            feed = stack.feed()
            got = epochs(feed, 2)
            digests.append(digest(got))
            for epoch in range(2):
                entries = ledger(stack, epoch)
                assert set(bad) == set(entries)
                for path, word in bad.items():
                    assert word in entries[path]["reason"]
                    assert 1 == entries[path]["attempts"]
                    assert entries[path]["worker"]
                    assert str(photos) not in entries[path]["reason"], "a reason names no folder of this host"
            assert [(46, 40, 6, 0)] * 2 == [
                (end.expected, end.delivered, end.quarantined, end.dropped) for end in feed.epochs
            ]
            assert 40 == len({int(item) for batch in got[:5] for item in batch["item"]})
    assert digests[0] == digests[1]


def test_odd_files_from_real_cameras_never_stop_the_stream(shared_data: Path, tmp_path: Path) -> None:
    """What can be decoded arrives, what cannot is named, and together they are all."""
    photos = make_images(tmp_path / "photos", each=8)
    for file in (shared_data / "odd").iterdir():
        shutil.copyfile(file, photos / "dog" / file.name)
    with run_stack(make_spec(photos, train=make_stream(**WHOLE)), workers=2) as stack:
        feed = stack.feed()
        got = epochs(feed, 1)
        [end] = feed.epochs
        entries = ledger(stack)
    assert 16 + len(list((shared_data / "odd").iterdir())) == end.expected == end.delivered + end.quarantined
    assert end.quarantined == len(entries)
    assert all(path.startswith("dog/") and len(Path(path).stem) == 32 for path in entries), "only odd files failed"
    assert end.delivered == sum(len(batch["label"]) for batch in got)


def test_files_that_change_while_the_stream_runs(tmp_path: Path) -> None:
    """One vanishes and one is cut off between epochs: named from then on, and nothing else is touched."""
    photos = make_images(tmp_path / "photos", each=40)
    stream = make_stream(**WHOLE, window_mb=0.01)
    with run_stack(make_spec(photos, train=stream), workers=2) as stack:
        feed = stack.feed(prefetch=1)
        first = take(feed, 6)
        (photos / "cat" / "0003.jpg").unlink()
        os.truncate(photos / "dog" / "0005.jpg", 300)
        epochs(feed, 3)
        assert {"cat/0003.jpg", "dog/0005.jpg"} == set(ledger(stack, 1)) == set(ledger(stack, 2))
        assert "no such file" in ledger(stack, 1)["cat/0003.jpg"]["reason"]
        for end in feed.epochs:
            assert 80 == end.expected == end.delivered + end.quarantined
            assert len(ledger(stack, end.epoch)) == end.quarantined if end.epoch else 2 >= end.quarantined
    assert 6 == len(first)


def test_a_failure_budget_that_is_exceeded_stops_the_stream_in_words(tmp_path: Path) -> None:
    """The trainer is told at once, with counts and the most frequent reasons, not by a timeout; other streams go on."""
    photos = make_images(tmp_path / "photos", each=20)
    for number in range(8):
        (photos / "dog" / f"{number:04}.jpg").write_bytes(b"")
    other = make_images(tmp_path / "other", each=4)
    spec = make_spec(
        photos,
        train=make_stream(**{**WHOLE, "failure_budget": 0.1}),
        validation=make_stream(**{**WHOLE, "source": {"kind": "directory", "root": "other"}}),
    )
    spec["roots"]["other"] = str(other)
    with run_stack(spec, workers=2) as stack:
        feed = stack.feed()
        epochs(stack.feed("validation"), 1)  # everything runs
        began = time.monotonic()
        with pytest.raises(
            FailureBudgetError,
            match=r"'train': 5 of 40 items failed in epoch 0, .* = 0.1 allows \(4\).*the file is empty",
        ):
            epochs(feed, 1)
        assert time.monotonic() - began < feed.timeout_s / 4
        with pytest.raises(FailureBudgetError, match="'train'"):  # a trainer that comes later is told too
            epochs(stack.feed(), 1)
        assert 1 == len(epochs(stack.feed("validation"), 1))
        assert "failure_budget" in until(lambda: told(stack, "sink")["stopped"].get("train"), "why it stopped")


@pytest.mark.parametrize("bad", [0, 1])
def test_a_budget_of_zero_allows_nothing(bad: int, tmp_path: Path) -> None:
    """One bad file stops the stream; none does not."""
    photos = make_images(tmp_path / "photos", each=10)
    for number in range(bad):
        (photos / "dog" / f"{number:04}.jpg").write_bytes(b"no picture")
    with run_stack(make_spec(photos, train=make_stream(**{**WHOLE, "failure_budget": 0.0})), workers=1) as stack:
        feed = stack.feed()
        if bad:
            with pytest.raises(FailureBudgetError, match="1 of 20 items failed"):
                epochs(feed, 1)
        else:
            got: list[Batch] = epochs(feed, 1)
            assert 20 == sum(len(batch["label"]) for batch in got)
