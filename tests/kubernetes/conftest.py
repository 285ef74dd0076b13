"""The tier on a real Kubernetes cluster: images, a stream, what an undisturbed local run of it gives, a cluster."""

import faulthandler
import itertools
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from compose.project import BUILD_S, Project, docker
from compose.shared import SPEC, need
from kubernetes import cluster as clusters
from kubernetes.deployed import NEXT_TAG, PARTS, TAG, Deployed, Trainer
from support.streams import digest, epochs, make_images, run_stack

_numbers = itertools.count()


@pytest.fixture(scope="session")
def programs() -> None:
    """Skip, loudly, where there can be no cluster."""
    if why := clusters.missing():
        pytest.skip(f"NOT TESTED ON KUBERNETES: {why}")
    need("ON KUBERNETES", ["docker", "info"], ["docker", "compose", "version"], ["kubectl", "version", "--client"])


@pytest.fixture(scope="session")
def archive(root: Path, programs: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Build the images as `docker compose build` does; return an archive of them, with a second image of the worker."""
    del programs
    # Pytest would print where Python waits, as if it hung: a build takes minutes, and has a deadline of its own.
    faulthandler.cancel_dump_traceback_later()
    folder = tmp_path_factory.mktemp("images")
    Project(root, "penstock-test-build", folder, TAG=TAG).run("build", *PARTS, seconds=BUILD_S)
    (folder / "Dockerfile").write_text(f"FROM penstock-worker:{TAG}\nLABEL next=true\n", encoding="utf-8")
    names = [f"penstock-{part}:{TAG}" for part in PARTS]
    docker("build", "--tag", f"penstock-worker:{NEXT_TAG}", folder)
    docker("save", "--output", folder / "images.tar", *names, f"penstock-worker:{NEXT_TAG}")
    yield folder / "images.tar"
    docker("image", "rm", "--force", *names, f"penstock-worker:{NEXT_TAG}")


@pytest.fixture(scope="session")
def cluster(archive: Path) -> Iterator[clusters.Cluster]:
    """Return a cluster of two nodes that have the images."""
    faulthandler.cancel_dump_traceback_later()
    with (
        tempfile.TemporaryDirectory(prefix="penstock-kubernetes-") as folder,
        clusters.Cluster(Path(folder), nodes=2) as running,
    ):
        Path(folder).chmod(0o755)
        running.take(archive)
        yield running


@pytest.fixture(scope="session")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a user's spec: a stream of 23 batches an epoch, of which the sink may hold two ahead."""
    path = tmp_path_factory.mktemp("spec") / "spec.toml"
    path.write_text(SPEC, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def data() -> Iterator[Path]:
    """Return a folder of 2 × 60 JPEG files, which the containers' user can read too."""
    with tempfile.TemporaryDirectory(prefix="penstock-kubernetes-images-") as folder:
        Path(folder).chmod(0o755)
        yield make_images(Path(folder), each=60)


@pytest.fixture(scope="session")
def reference(spec: Path, data: Path) -> list[str]:
    """Return the digests of the batches of two epochs in an undisturbed local run."""
    local = tomllib.loads(spec.read_text()) | {"roots": {"images": str(data)}}
    with run_stack(local, workers=2) as stack:
        return [digest([batch]) for batch in epochs(stack.feed(), 2)]


@pytest.fixture(scope="session")
def deployed(root: Path, cluster: clusters.Cluster, spec: Path, data: Path) -> Iterator[Deployed]:
    """Return the stack, ready, with one worker."""
    faulthandler.cancel_dump_traceback_later()
    with tempfile.TemporaryDirectory(prefix="penstock-kubernetes-stack-") as folder:
        Path(folder).chmod(0o755)
        yield Deployed(root, cluster, Path(folder), spec, data)


@pytest.fixture
def trainer(deployed: Deployed) -> Iterator[Callable[..., Trainer]]:
    """Return a maker of trainers, which end with the test; given a sink, a rank and how many ranks there are."""
    with ExitStack() as made:
        yield lambda *rank: made.enter_context(Trainer(deployed, f"trainer-{next(_numbers)}", *rank))
