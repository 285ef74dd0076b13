"""Feeds without copies: the same samples in the workers' own memory, for as long as the program keeps them."""

from pathlib import Path

import numpy as np
import pytest
from support.streams import run_stack

from penstock.protocol.transport.segments import loan_of
from penstock.trainer.adapters.keras_dataset import _Batches

pytestmark = pytest.mark.integration

#: Images in memory, and the size of a batch: its float images are 98 KB.
_IMAGES, _BATCH = 512, 32


@pytest.fixture
def spec(tmp_path: Path) -> dict[str, object]:
    """Return a spec whose workers write float images into shared memory, a window of a few tasks ahead."""
    np.save(tmp_path / "images.npy", np.random.default_rng(3).integers(0, 256, (_IMAGES, 16, 16, 3), np.uint8))
    stream = {
        "source": {"kind": "arrays", "root": "here", "images": "images.npy"},
        "transform": {
            "resize": {"height": 16, "width": 16},
            "normalize": {"rescale": 1 / 255, "where": "worker"},
        },
        "batch_size": _BATCH,
        "task_items": 2 * _BATCH,
        "window_mb": 1.0,
    }
    return {"seed": 1, "roots": {"here": str(tmp_path)}, "streams": {"train": stream}}


def test_batches_that_a_program_keeps_stay_as_they_were(spec: dict[str, object]) -> None:
    """All images of six epochs, kept until the end, are those of a feed that copies; they are read-only, labels not."""
    with run_stack(spec, workers=2) as stack:
        copied, lent = stack.feed(), stack.feed(copy=False)
        kept = []
        for _ in range(6):
            for expected, batch in zip(copied, lent, strict=True):
                kept.append((expected["image"], batch["image"]))
                assert expected["image"].flags.writeable
                assert batch["label"].flags.writeable
        assert 6 * _IMAGES // _BATCH == len(kept)
        assert any(loan_of(image) for _, image in kept), "nothing came through shared memory"
        assert not any(image.flags.writeable for _, image in kept if loan_of(image))
        assert all(np.array_equal(expected, image) for expected, image in kept)


def test_keras_gets_memory_that_may_be_changed(spec: dict[str, object]) -> None:
    """Its PyTorch backend trains on that very memory: a layer that works in place would end the process."""
    with run_stack(spec, workers=1) as stack:
        lent = stack.feed(copy=False)
        batches = _Batches(lent, ("image", "label"))
        for _ in range(4 * _IMAGES // _BATCH):
            images, labels = batches[0]
            assert images.flags.writeable
            assert labels.flags.writeable
