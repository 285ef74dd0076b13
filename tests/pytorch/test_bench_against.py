"""PyTorch's DataLoader in `penstock bench --against torch`: it gets the whole stream, with processes and without."""

from itertools import islice
from pathlib import Path

import pytest
from support.streams import make_images

from penstock.bench.loaders import open_loader, open_spec, parse_loaders

pytestmark = [pytest.mark.integration, pytest.mark.torch]


# Other tests of this process have imported JAX, which warns of any fork; `penstock bench` runs a loader in a process of
# its own.
@pytest.mark.filterwarnings("ignore:os.fork.. was called:RuntimeWarning")
@pytest.mark.parametrize("workers", [0, 2])
def test_a_data_loader_takes_all_samples_of_each_epoch(tmp_path: Path, workers: int) -> None:
    """Two epochs of 80 images in batches of 32, by processes that stay from one epoch to the next."""
    spec = open_spec(str(make_images(tmp_path / "photos", each=40, size=64)))
    assert ["torch"] == parse_loaders("torch")
    source = open_loader("torch", spec, {}, workers)
    assert [32, 32, 16] * 2 == list(islice(source, 2 * source.batches))
