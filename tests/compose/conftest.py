"""Images and projects of the Compose tier. Nothing here asks for an engine before a test does."""

import faulthandler
import itertools
import os
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from compose.project import BUILD_S, IMAGES, TAG, MakeProject, Project, docker
from compose.shared import SPEC, need
from support.streams import Batch, epochs, make_images, run_stack

_numbers = itertools.count()


@pytest.fixture(scope="session")
def engine() -> None:
    """Skip, loudly, where there is no Docker engine with Compose."""
    need("IN CONTAINERS", ["docker", "info"], ["docker", "compose", "version"])


@pytest.fixture(scope="session")
def images(root: Path, engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, ...]]:
    """Build all images as `docker compose build` does; return their names."""
    del engine
    # Pytest would print where Python waits, as if it hung: a build takes minutes, and has a deadline of its own.
    faulthandler.cancel_dump_traceback_later()
    Project(root, "penstock-test-build", tmp_path_factory.mktemp("build")).run("build", seconds=BUILD_S)
    names = tuple(f"penstock-{name}:{TAG}" for name in IMAGES)
    yield names
    docker("image", "rm", "--force", *names)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a user's folder of 2 × 60 JPEG files, which the containers' user can read too."""
    folder = make_images(tmp_path_factory.mktemp("data"), each=60)
    folder.chmod(0o755)
    return folder


@pytest.fixture(scope="session")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a user's spec: a stream of 23 batches an epoch, of which the sink may hold two ahead."""
    path = tmp_path_factory.mktemp("spec") / "spec.toml"
    path.write_text(SPEC)
    path.chmod(0o644)
    return path


@pytest.fixture(scope="session")
def reference(spec: Path, data: Path) -> list[Batch]:
    """Return what an undisturbed local run of the same spec gives: two epochs."""
    local = tomllib.loads(spec.read_text()) | {"roots": {"images": str(data)}}
    with run_stack(local, workers=2) as stack:
        return epochs(stack.feed(), 2)


@pytest.fixture(scope="module")
def project(root: Path, images: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeProject]:
    """Return a maker of projects with names that no other test has."""
    del images
    with ExitStack() as made:

        def make(*files: Path, **variables: object) -> Project:
            name = f"penstock-test-{os.getpid()}-{next(_numbers)}"
            return made.enter_context(Project(root, name, tmp_path_factory.mktemp("project"), files, **variables))

        yield make
