"""What beginners give to a spec is taken, or answered in words that say what to give."""

from pathlib import Path
from typing import Any

import pytest

from penstock.protocol.errors import SpecError
from penstock.protocol.spec.spec import as_spec, load_spec, parse_spec


def spec_with(transform: Any = None, roots: Any = None, **source: Any) -> dict[str, Any]:
    """Return a spec as a mapping."""
    stream = {
        "source": {"kind": "directory", "root": "photos", **source},
        "transform": transform or {"resize": {"height": 8, "width": 6}},
    }
    return {"streams": {"train": stream}} | ({} if roots is None else {"roots": roots})


@pytest.mark.parametrize("root", ["/data/x", "data/x", "~/x", "./x", Path("/data/x")])
def test_a_path_in_place_of_a_root_is_answered_in_words(root: Any) -> None:
    """The roots are a table of their own."""
    words = r"source\.root = .*root is a name from `roots`, not a path: give roots = \{photos = '.*x'\} and root"
    with pytest.raises(SpecError, match=words):
        parse_spec(spec_with(root=root))


def test_a_path_object_is_the_path_of_a_root(tmp_path: Path) -> None:
    """As programs have them."""
    assert {"photos": str(tmp_path)} == parse_spec(spec_with(roots={"photos": tmp_path})).roots


@pytest.mark.parametrize("field", ["resize", "patch"])
def test_a_pair_is_height_and_width(field: str) -> None:
    """The same spec as with a table, so the same samples and fingerprint."""
    for pair in ((8, 6), [8, 6]):
        assert parse_spec(spec_with({field: pair})) == parse_spec(spec_with({field: {"height": 8, "width": 6}}))
    with pytest.raises(SpecError, match=rf"{field} = 64: give a table with height and width, or the pair"):
        parse_spec(spec_with({field: 64}))
    with pytest.raises(SpecError, match=rf"{field}\.width = 0"):
        parse_spec(spec_with({field: (8, 0)}))


def test_a_folder_in_place_of_a_spec_is_answered_in_words(tmp_path: Path) -> None:
    """By the commands and by `penstock.local`."""
    for load in (load_spec, as_spec):
        with pytest.raises(SpecError, match=r"is a folder, and a spec is a TOML file.*penstock\.images\("):
            load(tmp_path)
