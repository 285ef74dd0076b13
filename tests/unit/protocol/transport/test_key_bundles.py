"""A bundle: a party's keys in one file, as engines hand secrets to containers."""

import os
from pathlib import Path

import pytest

from penstock.commands.keys import main
from penstock.protocol.errors import SpecError
from penstock.protocol.transport.keys import LOOK_S, KeyRing
from penstock.protocol.transport.sockets import new_key_pair


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a key folder with one more worker, whose name has a dot."""
    path = tmp_path / "keys"
    assert 0 == main(["init", str(path)])
    assert 0 == main(["add", "worker-7.rack", "--keys", str(path)])
    return path


def export(folder: Path, name: str) -> Path:
    """Return a bundle of one key."""
    target = folder.parent / f"{name}.keys"
    assert 0 == main(["export", name, str(target), "--bundle", "--keys", str(folder)])
    return target


@pytest.mark.parametrize("name", ["ventilator", "sink", "worker-7.rack", "trainer"])
def test_a_bundle_says_what_a_folder_says(folder: Path, name: str) -> None:
    """The own key, the services' and the admitted ones are those of an exported folder; only the owner can read it."""
    role = name.partition("-")[0]
    assert 0 == main(["export", name, str(folder.parent / "other"), "--keys", str(folder)])
    bundle, other = export(folder, name), folder.parent / "other"
    assert 0o600 == bundle.stat().st_mode & 0o777
    ring, expected = KeyRing(bundle, role), KeyRing(other, role)  # type: ignore[arg-type]
    assert expected.own == ring.own
    assert expected._by_public == ring._by_public
    assert expected.server("sink") == ring.server("sink")
    assert ring.own.secret not in repr(ring)


def test_it_is_read_where_an_engine_places_it(folder: Path, tmp_path: Path) -> None:
    """Kubernetes places a link to a file that the group may read."""
    bundle = export(folder, "sink")
    bundle.chmod(0o440)
    (tmp_path / "link").symlink_to(bundle)
    assert "sink" == KeyRing(tmp_path / "link", "sink").own.name


@pytest.mark.parametrize("mode", [0o444, 0o644, 0o460, 0o604])
def test_a_bundle_that_others_can_read_is_refused(folder: Path, mode: int) -> None:
    """With the mode that it should have, in the words of the engines."""
    bundle = export(folder, "sink")
    bundle.chmod(mode)
    with pytest.raises(SpecError, match=rf"has mode {mode:04o}: others could use it; give it 0400"):
        KeyRing(bundle, "sink")


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a file away takes root")
def test_a_bundle_of_another_user_is_refused(folder: Path) -> None:
    """That user could replace it."""
    bundle = export(folder, "sink")
    os.chown(bundle, 12345, 0)
    with pytest.raises(SpecError, match="belongs to user 12345"):
        KeyRing(bundle, "sink")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "need one secret key of role 'sink'"),
        ("[public", "not valid TOML"),
        ("public = 3", "not a key"),
        ('[secret.sink]\nrole = "sink"', "not a key"),
        ('[secret."../x"]\nrole = "sink"', r"\.\./x"),
        ("x" * 2**21, "not a bundle of keys"),
    ],
)
def test_a_file_that_is_no_bundle_is_refused_in_words(tmp_path: Path, text: str, says: str) -> None:
    """The file, and the table in it, are named."""
    path = tmp_path / "some.keys"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(SpecError, match=says) as raised:
        KeyRing(path, "sink")
    assert "some.keys" in str(raised.value) or "../x" in str(raised.value)


def test_a_key_without_its_role_is_not_taken_for_another(folder: Path) -> None:
    """A worker's bundle makes no sink."""
    with pytest.raises(SpecError, match=r"need one secret key of role 'sink', there are: worker-7.rack \(worker\)"):
        KeyRing(export(folder, "worker-7.rack"), "sink")


def test_a_bundle_that_is_replaced_is_read_again(folder: Path) -> None:
    """A running service admits the new keys, no revoked one, and nobody while the file is broken."""
    bundle = export(folder, "sink")
    ring = KeyRing(bundle, "sink")
    worker = KeyRing(folder, "worker").own.public
    assert ring.identify(worker)
    assert 0 == main(["revoke", "worker", "--keys", str(folder)])
    bundle.unlink()
    export(folder, "sink")
    assert [] == ring.refresh(10 * LOOK_S)
    assert ring.identify(worker) is None
    assert ring.identify(ring.server("ventilator"))
    bundle.write_text("[public")
    assert "no peer is admitted until then" in ring.refresh(20 * LOOK_S)[0]
    assert ring.identify(ring.server("ventilator")) is None
    assert ring.identify(new_key_pair()[0]) is None


def test_a_bundle_is_never_written_over_a_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistyped path costs no file."""
    (folder.parent / "mine").write_text("precious")
    assert 2 == main(["export", "sink", str(folder.parent / "mine"), "--bundle", "--keys", str(folder)])
    assert "give the path of a new file" in capsys.readouterr().err
    assert "precious" == (folder.parent / "mine").read_text()
