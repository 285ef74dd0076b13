"""An output that an older release began, with a fingerprint of version 1."""

from pathlib import Path

import pytest
from support.plans import make_plan
from support.written import attributes

from penstock.protocol.errors import OutputError
from penstock.protocol.plan import StreamPlan
from penstock.sink.core.writer_jobs import Commit, RowsJob
from penstock.sink.output.durable_files import Disk
from penstock.sink.output.layout import OutputConfig
from penstock.sink.output.output import Output

OLD = make_plan(items=28, fingerprint="old")
NEW = make_plan(items=28, fingerprint="2:new", fingerprint_1="old")


def open_output(folder: Path, plan: StreamPlan) -> Output:
    """Open the output, and give it the paths of its items."""
    config = OutputConfig(str(folder / "out.h5"), "train", 1, "none", None)
    output = Output(config, plan, Disk(0.0, lambda _: None), lambda _: None)
    if not output.finished and not output.opened().listed:
        output.names.append(0, plan.items, [f"{item}.jpg" for item in range(plan.items)])
    return output


def commit(output: Output, stop: int, *, last: bool) -> None:
    """Commit up to a position, without samples."""
    output.append(RowsJob((), 0, ()))
    output.commit(Commit(stop, [], last=last))


def test_an_older_output_is_continued_and_keeps_its_fingerprint(tmp_path: Path) -> None:
    """Pieces of both releases belong to one file; finished, it is recognised too."""
    output = open_output(tmp_path, OLD)
    commit(output, 14, last=False)
    output.close()
    output = open_output(tmp_path, NEW)
    assert 14 == output.stop
    commit(output, 28, last=True)
    assert output.finished
    output.close()
    assert "old" == attributes(tmp_path / "out.h5")["fingerprint"]
    output = open_output(tmp_path, NEW)
    assert (28, True) == (output.stop, output.finished)
    output.close()


def test_an_older_output_of_another_stream_is_refused(tmp_path: Path) -> None:
    """Both fingerprints are quoted by version 1, so that they can be compared."""
    open_output(tmp_path, OLD).close()
    with pytest.raises(OutputError, match=r"fingerprint old, and this is stream 'train' with other: "):
        open_output(tmp_path, make_plan(items=28, fingerprint="2:new", fingerprint_1="other"))
    with pytest.raises(OutputError, match=r"fingerprint old, and this is stream 'train' with 2:new: .*another name"):
        open_output(tmp_path, make_plan(items=28, fingerprint="2:new"))
