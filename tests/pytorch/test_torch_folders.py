"""The drop-in DataLoader over folders, torchvision's ImageFolder and specs gives PyTorch's own batches."""

import importlib
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from support.imaging.torchvision_reference import transforms

import penstock
from penstock.protocol.errors import SpecError

pytestmark = [pytest.mark.integration, pytest.mark.torch]

V2 = transforms()
V1: Any = importlib.import_module("torchvision.transforms")
torch: Any = importlib.import_module("torch")
ImageFolder: Any = importlib.import_module("torchvision.datasets").ImageFolder

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
NEW = V2.Compose(
    [V2.Resize(40), V2.CenterCrop(32), V2.ToImage(), V2.ToDtype(torch.float32, scale=True), V2.Normalize(MEAN, STD)]
)
OLD = V1.Compose([V1.Resize((32, 40)), V1.Grayscale(), V1.ToTensor(), V1.Normalize([0.5], [0.25])])


@pytest.fixture(scope="module")
def folder(photos: Path) -> Path:
    """Return the folder of photos without the one that is no image, which would stop PyTorch's own DataLoader."""
    whole = photos.with_name("whole")
    if not whole.exists():
        for file in photos.rglob("*.jpg"):
            if file.stat().st_size > 100:
                place = whole / file.relative_to(photos)
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(file.read_bytes())
    return whole


def assert_same(expected: Any, got: Any) -> None:
    """Check that batches have the same tensors, to the last bit and with the same types."""
    for one, other in zip(expected, got, strict=True):
        for theirs, ours in zip(one, other, strict=True):
            assert theirs.dtype == ours.dtype
            assert torch.equal(theirs, ours)


@pytest.mark.parametrize("transform", [NEW, OLD], ids=["v2", "v1"])
def test_an_image_folder_gives_pytorchs_own_batches(folder: Path, transform: Any) -> None:
    """Without shuffling: the same images and labels in the same order, bit for bit; of a Subset, its samples."""
    dataset = torch.utils.data.Subset(ImageFolder(folder, transform), range(100, 20, -3))
    expected = list(torch.utils.data.DataLoader(dataset, 8))
    with penstock.torch.DataLoader(dataset, 8, num_workers=2, pin_memory=True, persistent_workers=True) as loader:
        assert (len(expected), len(dataset)) == (len(loader), len(loader.dataset))
        assert_same(expected, loader)


def test_a_folder_with_a_transform_is_such_a_dataset(folder: Path) -> None:
    """Shuffled, each image once; a state goes on with the very next batch, of a damaged image's epoch too."""
    labels = sorted(label for _, label in ImageFolder(folder).samples)
    with penstock.torch.DataLoader(str(folder), 16, True, transform=NEW, num_workers=2, seed=5) as loader:  # noqa: FBT003
        first = list(loader)
        list(islice(loader, 3))
        state = loader.state_dict()
        expected = list(loader)
    assert labels == sorted(int(label) for _, batch in first for label in batch)
    assert labels != [int(label) for _, batch in first for label in batch]
    with penstock.torch.DataLoader(str(folder), 16, True, transform=NEW, num_workers=1, seed=5) as loader:  # noqa: FBT003
        loader.load_state_dict(state)
        assert_same(expected, loader)


def test_a_spec_file_gives_its_stream(folder: Path, tmp_path: Path) -> None:
    """With its batch size, as dicts of its fields, or tuples of some; arguments win."""
    file = tmp_path / "spec.toml"
    file.write_text(
        f'seed = 1\n[roots]\nimages = "{folder}"\n[streams.train]\nbatch_size = 10\n'
        'source = {kind = "directory", root = "images"}\ntransform = {resize = [24, 32]}\n',
        encoding="utf-8",
    )
    with penstock.torch.DataLoader(file, num_workers=1) as loader:
        batch = next(iter(loader))
    assert (10, 3, 24, 32) == tuple(batch["image"].shape)
    with penstock.torch.DataLoader(file, 4, num_workers=1, fields=("label",)) as loader:
        (label,) = next(iter(loader))
    assert (4,) == tuple(label.shape)


def test_datasets_that_do_something_of_their_own_are_refused(folder: Path) -> None:
    """A loader, a __getitem__ or a change of labels would silently be left out."""
    own = type("Own", (ImageFolder,), {"__getitem__": lambda self, index: (self, index)})
    with pytest.raises(SpecError, match="Own has a __getitem__ of its own"):
        penstock.torch.DataLoader(own(folder, NEW))
    with pytest.raises(SpecError, match="target_transform = <built-in function abs>"):
        penstock.torch.DataLoader(ImageFolder(folder, NEW, target_transform=abs))
    with pytest.raises(SpecError, match=r"dataset\.loader = <built-in function open>"):
        penstock.torch.DataLoader(ImageFolder(folder, NEW, loader=open))
    with pytest.raises(SpecError, match=r"transform = None: .*one size"):
        penstock.torch.DataLoader(ImageFolder(folder))
