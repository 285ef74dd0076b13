"""Links that lead out of a root: followed on one host unless the spec forbids it, refused over a network."""

from pathlib import Path
from typing import Any

import pytest

from penstock.commands.check import main as check
from penstock.launcher.addresses import Addresses
from penstock.launcher.links import follow_links
from penstock.protocol.errors import SourceError
from penstock.protocol.spec.spec import Spec, parse_spec
from penstock.ventilator.sources.catalog import Catalog


def spec_of(folder: Path, **source: Any) -> Spec:
    """Return a spec over `folder`."""
    stream = {
        "source": {"kind": "directory", "root": "photos", **source},
        "transform": {"resize": {"height": 8, "width": 8}},
    }
    return parse_spec({"roots": {"photos": str(folder)}, "streams": {"train": stream}})


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """Return a root with a class whose images lie elsewhere, as tools for splitting a set leave it."""
    (tmp_path / "all/cats").mkdir(parents=True)
    (tmp_path / "all/cats/1.jpg").touch()
    (tmp_path / "root/dog").mkdir(parents=True)
    (tmp_path / "root/dog/2.jpg").symlink_to(tmp_path / "all/cats/1.jpg")
    (tmp_path / "root/cat").symlink_to(tmp_path / "all/cats")
    return tmp_path / "root"


def test_links_are_followed_where_the_spec_is_silent(linked: Path) -> None:
    """The launcher says so; the spec's own default is still that such a link is an error."""
    spec = spec_of(linked)
    with pytest.raises(SourceError, match="leads outside its root"):
        Catalog.open(spec, spec.roots)
    [plan] = Catalog.open(follow_links(spec, spec.roots), spec.roots).plans
    assert (2, ("cat", "dog")) == (plan.items, plan.classes)


def test_what_the_spec_says_stays(linked: Path) -> None:
    """`allow_outside = false` that is written down forbids, also on one host."""
    spec = follow_links(spec_of(linked, allow_outside=False), {"photos": str(linked)})
    with pytest.raises(SourceError, match="leads outside its root"):
        Catalog.open(spec, spec.roots)


def test_the_fingerprint_does_not_tell_who_decided(linked: Path) -> None:
    """A run that began on one host goes on over a network whose spec permits the links."""
    spec, permitted = spec_of(linked), spec_of(linked, allow_outside=True)
    plans = [Catalog.open(each, spec.roots).plans[0] for each in (follow_links(spec, spec.roots), permitted)]
    assert plans[0].fingerprint == plans[1].fingerprint


@pytest.mark.parametrize(
    ("source", "roots"),
    [
        ({"kind": "hdf5", "path": "set.h5"}, {}),
        ({}, {"photos": "http://host/photos"}),
        ({"kind": "manifest", "path": "m.csv", "manifest_root": "lists"}, {"lists": "http://host/lists"}),
    ],
)
def test_files_that_name_files_and_urls_are_left_alone(tmp_path: Path, source: Any, roots: Any) -> None:
    """An HDF5 file may name any file of the host, a server may redirect anywhere: the spec must permit that."""
    spec = spec_of(tmp_path, **source)
    spec = spec.model_copy(update={"roots": {"photos": str(tmp_path)} | roots})
    assert not follow_links(spec, spec.roots).streams["train"].source.allow_outside


def test_check_follows_links_as_a_stack_on_one_host_does(linked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It prints what `penstock up` would deliver here."""
    spec = linked.parent / "spec.toml"
    spec.write_text(
        f'[roots]\nphotos = "{linked}"\n[streams.train]\nsource = {{ kind = "directory", root = "photos" }}\n'
        "transform = { resize = { height = 8, width = 8 } }\n"
    )
    assert 0 == check([str(spec)])
    assert "2 classes" in capsys.readouterr().out


@pytest.mark.parametrize(("ventilator", "expected"), [("ipc:///run/v.sock", True), ("tcp://127.0.0.1:1", False)])
def test_one_host_is_one_that_no_other_can_join(ventilator: str, expected: bool) -> None:  # noqa: FBT001 - a case
    """Loopback counts as a network: tunnels and containers lead to it."""
    assert expected == Addresses(ventilator, "ipc:///run/r.sock", "ipc:///run/t.sock").is_one_host
