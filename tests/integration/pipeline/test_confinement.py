"""What a worker reads when its ventilator asks for more than it was given."""

import json
from pathlib import Path

import pytest
from support.services.running import PENSTOCK, refused, running


def spec_of(folder: Path, **source: object) -> str:
    """Return the path of a spec whose stream reads root `secrets`, as a foreign ventilator could have it."""
    (folder / "class").mkdir(parents=True)
    (folder / "class" / "passwords.jpg").write_bytes(b"root:secret")
    path = folder / "spec.toml"
    items = {"kind": "directory", "root": "secrets", **source}
    lines = [f"{key} = {json.dumps(value)}" for key, value in items.items()]
    path.write_text(
        "[streams.train]\nbatch_size = 1\n[streams.train.source]\n"
        + "\n".join(lines)
        + f"\n[streams.train.transform.resize]\nheight = 8\nwidth = 8\n[roots]\nsecrets = {json.dumps(str(folder))}\n"
    )
    return str(path)


@pytest.mark.parametrize(
    ("source", "flags", "words"),
    [
        ({}, ["photos={root}"], "root 'secrets', which is not among the roots given to this worker (photos)"),
        ({"allow_outside": True}, ["secrets={root}"], "permits this only with --allow-outside"),
    ],
)
def test_a_worker_with_roots_reads_nothing_else(
    tmp_path: Path, source: dict[str, object], flags: list[str], words: str
) -> None:
    """A ventilator cannot name another root, nor lift the confinement to a root: the worker leaves, in words."""
    address = f"ipc://{tmp_path}/v.sock"
    spec = spec_of(tmp_path / "files", **source)
    own = tmp_path / "own"
    own.mkdir()
    roots = [part for flag in flags for part in ("--root", flag.format(root=own))]
    with running([PENSTOCK, "ventilator", "--spec", spec, "--bind", address]):
        assert words in refused(PENSTOCK, "worker", "--ventilator", address, *roots)
