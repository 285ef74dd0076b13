"""A kind of source that another package adds, as a user of the extension point would: through whole stacks."""

import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from support.images import write_images
from support.streams import digest, epochs, make_spec, make_stream, run_stack, take, until

from penstock.commands.check import main as check
from penstock.protocol.errors import SpecError
from penstock.protocol.spec.source import load_kind
from penstock.protocol.spec.spec import parse_spec

pytestmark = pytest.mark.integration

RECORDS = {"kind": "records", "root": "photos", "path": "sets"}
#: Files of the class folders, and records in each file.
EACH, IN_FILE = 20, 9


@pytest.fixture
def package(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """Install the package for this process and its children: its module, and the metadata that names the kind."""
    site = tmp_path / "site"
    facts = site / "record_files-1.0.dist-info"
    facts.mkdir(parents=True)
    shutil.copy(root / "tests/support/sources/record_files.py", site)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: record-files\nVersion: 1.0\n", encoding="utf-8")
    (facts / "entry_points.txt").write_text("[penstock.sources]\nrecords = record_files:KIND\n", encoding="utf-8")
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PYTHONPATH", str(site))
    yield
    load_kind.cache_clear()
    sys.modules.pop("record_files", None)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Return a root with the same images in class folders and in files of records, in the same order."""
    folder = tmp_path / "photos"
    files = write_images(folder, ("cat", "dog"), EACH)
    (folder / "sets").mkdir()
    for start in range(0, len(files), IN_FILE):
        content = b"".join(
            struct.pack("<ii", ["cat", "dog"].index(file.parent.name), file.stat().st_size) + file.read_bytes()
            for file in files[start : start + IN_FILE]
        )
        (folder / f"sets/{start:04}.rec").write_bytes(content)
    return folder


def make(photos: Path, **changes: Any) -> dict[str, Any]:
    """Return a spec with the stream of the class folders and that of the records."""
    by_folder = {"kind": "directory", "root": "photos", "classes": ["cat", "dog"]}
    streams = {
        name: make_stream(source=source, task_items=4, **changes)
        for name, source in (("folders", by_folder), ("records", RECORDS))
    }
    return make_spec(photos) | {"streams": streams}


@pytest.mark.usefixtures("package")
def test_parts_of_files_give_the_bytes_of_the_same_files(photos: Path) -> None:
    """Each exactly once, in the same order, at two workers of which one is killed."""
    with run_stack(make(photos), workers=2) as stack:
        expected = digest(epochs(stack.feed("folders"), 2))
        feed = stack.feed("records")
        got = take(feed, 3)
        stack.children["worker-0"].process.kill()
        until(lambda: stack.children["worker-0"].restarts, "the worker to run again")
        got += take(feed, 2 * feed.plan.batches_per_epoch() - 3)
    assert expected == digest(got)


@pytest.mark.usefixtures("package")
def test_a_damaged_part_is_quarantined_by_file_and_offset(photos: Path) -> None:
    """A record whose bytes are no image, and one that lies behind the end of a file that was cut."""
    damaged, cut = photos / "sets/0000.rec", photos / "sets/0036.rec"
    first = struct.unpack("<ii", damaged.read_bytes()[:8])[1]
    with damaged.open("r+b") as file:
        file.seek(8)
        file.write(b"\0" * 64)
    with run_stack(make(photos, failure_budget=0.5), workers=1) as stack:
        os.truncate(cut, cut.stat().st_size - 1)  # it was listed; no task of it is leased before a feed asks
        feed = stack.feed("records")
        items = [item for batch in epochs(feed, 1) for item in batch["item"].tolist()]
        entries = [json.loads(line) for line in stack.quarantine.read_text(encoding="utf-8").splitlines()]
    reasons = {entry["path"]: entry["reason"] for entry in entries}
    [last] = [path for path in reasons if path.startswith("sets/0036.rec@")]
    assert {f"sets/0000.rec@8+{first}", last} == set(reasons)
    assert "ends before the item does" in reasons[last]
    assert set(range(1, 2 * EACH - 1)) == set(items)


@pytest.mark.usefixtures("package")
def test_check_and_the_spec_know_the_kind(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Items, classes and the memory bound; a mistake in the kind's own fields is named like any other."""
    text = f'[roots]\nphotos = "{photos}"\n[streams.train]\n'
    text += 'source = { kind = "records", root = "photos", path = "sets" }\n'
    text += "transform = { resize = { height = 40, width = 48 } }\n"
    (tmp_path / "spec.toml").write_text(text, encoding="utf-8")
    assert 0 == check([str(tmp_path / "spec.toml"), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert {"0": EACH, "1": EACH} == told["streams"][0]["classes"]
    assert any("mean of 40 files" in term["why"] for term in told["memory"])
    assert all("@" in entry["path"] for entry in told["streams"][0]["order"])
    wrong = make_spec(photos, train=make_stream(source=RECORDS | {"pat": "sets"}))
    with pytest.raises(SpecError, match=r"source\.pat = 'sets': unknown field; did you mean 'path'\? allowed: .*kind"):
        parse_spec(wrong)
    split = make_spec(photos, train=make_stream(source=RECORDS | {"subset": "training", "validation_split": 0.5}))
    with pytest.raises(Exception, match="a source of kind 'records' cannot be split"):
        run_stack(split, workers=1).__enter__()


def test_a_kind_that_is_not_installed_is_named(photos: Path) -> None:
    """With those that are, and what to do."""
    with pytest.raises(
        SpecError, match=r"streams\.records\.source\.kind = 'records': no such kind of source; known here: 'dir"
    ):
        parse_spec(make(photos))


@pytest.mark.usefixtures("package")
def test_a_plan_can_be_read_where_the_kind_is_not_installed(photos: Path) -> None:
    """A recorded file keeps its plan; only listing and reading need the kind."""
    with run_stack(make(photos), workers=1) as stack:
        plan = stack.feed("records").plan.model_dump_json()
    program = (
        "import sys\nfrom penstock.protocol.plan import StreamPlan\n"
        "plan = StreamPlan.model_validate_json(sys.stdin.read())\n"
        "print(plan.settings.source.kind_name, plan.settings.source.path, plan.model_dump_json() == sys.argv[1])"
    )
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    said = subprocess.run(
        [sys.executable, "-c", program, plan], input=plan, env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert "records sets True" == said.strip()
