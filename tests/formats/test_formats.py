"""One set of images, written by the real tools, gives one stream of samples, whatever it is stored in."""

import random
from pathlib import Path

import lmdb  # pyright: ignore[reportMissingImports]
import pytest
from formats.writers import WRITERS, Sample
from support.images import write_images
from support.streams import digest, epochs, make_spec, make_stream, run_stack

from penstock.sources.containers.lmdb_pages import values

pytestmark = pytest.mark.formats


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a root with 24 images in two class folders, and the files of every tool next to them."""
    root = tmp_path_factory.mktemp("formats") / "photos"
    files = write_images(root, ("cat", "dog"), 12)
    samples = [Sample(file.read_bytes(), file.parent.name) for file in files]
    for write, _ in WRITERS.values():
        write(root, samples)
    return root


@pytest.fixture(scope="session")
def digests(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the digest of an epoch (image, label, item) of every kind of file, in order and shuffled."""
    sources: dict[str, dict[str, object]] = {
        name: {"root": "photos", **source} for name, (_, source) in WRITERS.items()
    }
    sources["folder"] = {"kind": "directory", "root": "photos", "classes": ["cat", "dog"]}
    streams = {
        f"{name}-{order}": make_stream(source=source, shuffle=order == "shuffled")
        for name, source in sources.items()
        for order in ("ordered", "shuffled")
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        with run_stack(make_spec(photos) | {"streams": streams}, workers=1) as stack:
            return {name: digest(epochs(stack.feed(name), 1)) for name in streams}


@pytest.mark.parametrize("order", ["ordered", "shuffled"])
@pytest.mark.parametrize("name", WRITERS)
def test_files_of_the_real_tools_give_the_samples_of_the_folder(name: str, order: str, digests: dict[str, str]) -> None:
    """Image, label and item of every sample, in the same order."""
    assert digests[f"folder-{order}"] == digests[f"{name}-{order}"]


def test_the_two_orders_differ(digests: dict[str, str]) -> None:
    """Else the test above would compare one order twice."""
    assert digests["folder-ordered"] != digests["folder-shuffled"]


def test_a_data_base_of_many_transactions_is_read_as_lmdb_reads_it(tmp_path: Path) -> None:
    """Thousands of keys, written, overwritten and deleted: pages in several levels, small values and large ones."""
    rng = random.Random(1)
    with lmdb.open(str(tmp_path / "x"), map_size=1 << 26) as environment:
        for _ in range(20):
            with environment.begin(write=True) as transaction:
                for _ in range(300):
                    key = f"k{rng.randrange(4000):06}".encode()
                    if rng.random() < 0.2:
                        transaction.delete(key)
                    else:
                        transaction.put(key, rng.randbytes(rng.choice([1, 30, 700, 2000, 2030, 5000, 20_000])))
        with environment.begin() as transaction:
            expected = [(bytes(key), bytes(value)) for key, value in transaction.cursor()]
    content = (tmp_path / "x/data.mdb").read_bytes()
    with (tmp_path / "x/data.mdb").open("rb") as opened:
        found = [(each.key, content[each.offset : each.offset + each.length]) for each in values(opened, "x")]
    assert expected == found
