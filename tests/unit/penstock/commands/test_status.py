"""What `penstock status` and `penstock quarantine` print, of snapshots and ledgers made by hand."""

import json
import socket
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from support.snapshots import make_line, make_snapshot

from penstock import cli
from penstock.commands.quarantine import group, merge, read_ledger
from penstock.commands.status_display import picture, span
from penstock.protocol.errors import SourceError
from penstock.protocol.runtime.printable import printable
from penstock.protocol.snapshot import Scaling, SinkRow, Snapshot, Standby, Verdict
from penstock.protocol.stats import CacheStats, ShardStats, WorkerStats

HOSTILE = "cat/\x1b[2J[red]<b>\x9b31m.jpg"


def show(snapshot: Snapshot, width: int = 80, room: int | None = None, silent_s: float = 0.0) -> str:
    """Return what a terminal of that width gets."""
    file = StringIO()
    console = Console(file=file, width=width, force_terminal=True, color_system=None, highlight=False)
    console.print(picture(snapshot, "tcp://box:5555", room, silent_s))
    return file.getvalue()


def test_all_that_matters_fits_a_terminal_of_80_columns() -> None:
    """Verdict, flow, progress, workers and failures, with the snapshot's numbers."""
    text = show(make_snapshot(ledger=[make_line(0)]))
    for words in (
        "Worker-bound for 5.0 s",
        "Add 2 workers",
        "12 tasks/s",
        "1,234 samples/s",
        "500 of 1,000",
        "34%",
        "42 s",
        "box/0",
        "making 0.4 s",
        "1 item quarantined: 1 read; penstock quarantine tcp://box:5555",
        "cat/7.jpg: the file is empty",
        "50 items, no trainer",
    ):
        assert words in " ".join(text.split()), words
    assert max(len(line) for line in text.splitlines()) <= 80


def test_a_ventilators_standby_is_one_line() -> None:
    """Whether another one would take over; a stack with a single ventilator has no such line."""
    row = Standby(acting=True, sentence=f"ventilator a/1 acts, term 9; on standby: b{HOSTILE}, last sign 0.4 s ago")
    text = " ".join(show(make_snapshot(standby=row), width=300).split())
    assert "Ventilator a/1 acts, term 9; on standby: bcat/" in text
    assert "\x1b[2J" not in text.replace("\\x1b", "")
    assert "on standby" not in show(make_snapshot())


def test_the_copies_to_a_device_stand_next_to_the_waiting() -> None:
    """Where a trainer reports some; elsewhere there is no line for them."""
    snapshot = make_snapshot()
    [trainer] = snapshot.trainers
    copying = snapshot.model_copy(update={"trainers": (trainer.model_copy(update={"copy_fraction": 0.61}),)})
    text = show(copying)
    assert "train: copies to its device took 61% of its time" in text
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "copies" not in show(snapshot)


def test_the_wanted_number_of_workers_stands_with_its_reason() -> None:
    """What it is, its bound, since when, and why it was changed; no line while the number is not known."""
    why = "4 instead of 2: the trainer waited 45% of its time; 2 more workers, a core each, would bring \x1b[2J it"
    known = make_snapshot().model_copy(update={"scaling": Scaling(wanted=4, most=8, sentence=why, for_s=90.0)})
    shown = " ".join(show(known, width=200).split())
    assert (
        "4 workers of at most 8 wanted, for 90 s: 4 instead of 2: the trainer waited 45% of its time; 2 more" in shown
    )
    assert "would bring \\x1b[2J it" in shown
    one = make_snapshot().model_copy(update={"scaling": Scaling(wanted=1, sentence="as many as are here", for_s=5.0)})
    assert "1 worker wanted, for 5.0 s: as many as are here" in " ".join(show(one, width=200).split())
    assert "wanted" not in show(make_snapshot())
    assert len(show(known, room=30).splitlines()) <= 30


def test_failures_that_come_again_in_every_epoch_are_not_taken_for_files() -> None:
    """One damaged file that fails in a hundred epochs is one item."""
    text = " ".join(show(make_snapshot(ledger=[make_line(0), make_line(0, epoch=1)])).split())
    assert "1 item quarantined: 1 read" in text


def test_where_there_are_more_workers_than_rows_the_rest_is_counted() -> None:
    """The display never grows beyond its terminal."""
    text = show(make_snapshot(workers=50), room=30)
    assert "and 39 more" in text
    assert len(text.splitlines()) <= 30
    assert "box/49" in show(make_snapshot(workers=50)), "all of them where nothing limits"


def test_the_caches_of_several_hosts_are_one_line() -> None:
    """Hits of all workers; the size of each host's cache once, for its workers share it."""
    cache = CacheStats(hits=300, misses=100, saved_s=90.0, held_bytes=5 * 10**9, limit_bytes=10**10)
    snapshot = make_snapshot(workers=4)
    rows = [
        row.model_copy(update={"host": f"box{number % 2}", "stats": WorkerStats(cache=cache)})
        for number, row in enumerate(snapshot.workers)
    ]
    shown = show(snapshot.model_copy(update={"workers": tuple(rows)}), width=120)
    assert "75% of the images came from the cache, 6 min of decoding saved; it holds 10 GB of 20 GB" in shown
    assert "cache" not in show(snapshot)


def test_a_cache_that_cannot_grow_is_said_once_a_host_and_in_letters_only() -> None:
    """As on a full disk. Of many hosts some are named; what a worker says of itself moves no cursor."""
    plain = CacheStats(hits=1)
    full = plain.model_copy(update={"stopped": "No space left \x1b[2J"})
    snapshot = make_snapshot(workers=20)

    def told(*hosts: tuple[str, CacheStats]) -> str:
        rows = [
            row.model_copy(update={"host": host, "stats": WorkerStats(cache=cache)})
            for row, (host, cache) in zip(snapshot.workers, hosts, strict=False)
        ]
        return show(snapshot.model_copy(update={"workers": tuple(rows)}), width=120)

    assert "stopped growing" not in told(("box", plain), ("other", plain))
    shown = told(("box", full), ("box", full), ("other", plain))
    assert 1 == shown.count("the cache stopped growing on box (No space left ")
    assert "\x1b[2J" not in shown
    assert "and 5 more" in told(*((f"box{number}", full) for number in range(8)))


def test_how_much_stays_on_its_host_is_one_line_where_there_is_a_choice() -> None:
    """With several sinks, and workers on several hosts: the share, and what crosses the network."""
    snapshot = make_snapshot(workers=2)
    workers = tuple(row.model_copy(update={"host": f"h{n}"}) for n, row in enumerate(snapshot.workers))
    sinks = tuple(SinkRow(name=name, results="tcp://box:5556") for name in "ab")
    flow = snapshot.flow.model_copy(update={"made_bytes": 2e6, "near_bytes": 1.5e6})
    told = snapshot.model_copy(update={"workers": workers, "sinks": sinks, "flow": flow})
    assert "75% of the samples' bytes stay on their host, 500 kB/s cross the network" in show(told)
    assert "on their host" not in show(told.model_copy(update={"sinks": sinks[:1]}))
    assert "on their host" not in show(told.model_copy(update={"workers": snapshot.workers}))


def test_kept_shards_are_one_line() -> None:
    """Counts of all workers; the size of each host's shards once, as the worker tells it that made room last."""
    snapshot = make_snapshot(workers=4)
    rows = [
        row.model_copy(
            update={
                "host": f"box{number % 2}",
                "stats": WorkerStats(
                    shards=ShardStats(
                        hits=90, misses=10, fetched=3, removed=1, held_bytes=number * 10**9, limit_bytes=10**10
                    )
                ),
            }
        )
        for number, row in enumerate(snapshot.workers)
    ]
    shown = show(snapshot.model_copy(update={"workers": tuple(rows)}), width=140)
    assert "90% of the images came from kept shards, 12 fetched, 4 removed; they hold 5.0 GB of 20 GB" in shown
    assert "kept shards" not in show(snapshot)


def test_a_stack_without_anybody_is_shown_too() -> None:
    """No sink, no worker, no trainer: said, not left out."""
    stalled = Verdict(word="stalled", cause="no sink", sentence="stalled: no sink is connected", for_s=200.0)
    text = show(make_snapshot(workers=0, sink=None, trainers=(), verdict=stalled), silent_s=7.0)
    for words in ("No answer from tcp://box:5555 for 7 s", "Stalled: no sink  for 3 min", "no worker is connected"):
        assert words in text
    assert "nothing is quarantined" in text


def test_a_file_s_name_cannot_act_on_the_terminal(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Escape sequences are spelt out, markup is text, in both commands."""
    line = make_line(0, HOSTILE, reason=f"cannot open {HOSTILE}")
    ledger = tmp_path / "quarantine.jsonl"
    ledger.write_text(json.dumps(line.model_dump(), ensure_ascii=False) + "\n", encoding="utf-8")
    assert 0 == cli.main(["quarantine", str(ledger)])
    for text in (show(make_snapshot(ledger=[line]), width=200), capsys.readouterr().out):
        assert r"cat/\x1b[2J[red]<b>\x9b31m.jpg" in text
        assert HOSTILE not in text
    assert "ä✓ '" == printable("ä✓ '")


def test_times_have_the_digits_they_deserve() -> None:
    """Seconds, minutes, hours; nothing where nothing is known."""
    assert ["–", "0.4 s", "42 s", "3 min", "2.0 h"] == [span(each) for each in (None, 0.4, 42.0, 180.0, 7200.0)]


def test_an_item_that_fails_in_every_epoch_is_listed_once() -> None:
    """With its epochs, and under its reason, the most frequent one first; numbers make no other reason."""
    lines = [make_line(number, epoch=number).model_dump() for number in range(3)]
    damaged = [
        make_line(9, f"dog/{each}.jpg", f"damaged: {each} bytes left").model_dump() | {"item": each} for each in (1, 2)
    ]
    groups = group(merge(lines + damaged))
    assert ["damaged: … bytes left", "the file is empty"] == list(groups)
    assert [[0, 1, 2]] == [item.epochs for item in groups["the file is empty"]]


def test_a_torn_last_line_is_left_out_and_any_other_is_refused(tmp_path: Path) -> None:
    """The sink may have been killed while it wrote; a file that is no ledger is named with the line."""
    path = tmp_path / "quarantine.jsonl"
    good = json.dumps(make_line(0).model_dump())
    path.write_text(f"{good}\n{good[:40]}", encoding="utf-8")
    assert 1 == len(read_ledger(path))
    path.write_text(f"shopping list\n{good}\n", encoding="utf-8")
    with pytest.raises(SourceError, match="line 1: 'shopping list' is no line of a ledger"):
        read_ledger(path)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["status", "tcp://127.0.0.1:9", "--wait-s", "0.2"], "no answer from tcp://127.0.0.1:9"),
        (["status", "tcp://nobody.invalid:9", "--wait-s", "1"], "this host cannot look 'nobody.invalid' up"),
        (["status", "http://127.0.0.1:9"], "no answer from http://127.0.0.1:9"),
        (["status", "box:5555"], "address 'box:5555'"),
        (["status", "tcp://box"], "address 'tcp://box': 'box' is no port; give tcp://host:port"),
        (["status", "tcp://box:99999"], "address 'tcp://box:99999': '99999' is no port"),
        (["status", "tcp://127.0.0.1:9", "--keys", "/nowhere"], "make a key folder"),
        (["quarantine", "/nowhere/quarantine.jsonl"], "No such file"),
        (["quarantine", "ipc:///nowhere"], "no ventilator listens at ipc:///nowhere: check the address"),
        (["view", "ipc:///nowhere"], "no sink listens at ipc:///nowhere"),
    ],
)
def test_what_leads_nowhere_is_said_in_one_line(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With status 2, the value, and what to do."""
    assert 2 == cli.main(arguments)
    [line] = capsys.readouterr().err.splitlines()
    assert words in line


def test_json_can_be_read_again(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """For programs: one entry an item."""
    path = tmp_path / "quarantine.jsonl"
    path.write_text(json.dumps(make_line(0).model_dump()) + "\n", encoding="utf-8")
    assert 0 == cli.main(["quarantine", str(path), "--json"])
    [item] = json.loads(capsys.readouterr().out)
    assert ("cat/7.jpg", "the file is empty", [0]) == (item["path"], item["reason"], item["epochs"])


@pytest.mark.parametrize(
    ("command", "service"), [("status", "ventilator"), ("quarantine", "ventilator"), ("view", "sink")]
)
def test_without_a_stack_that_is_said_at_once(
    command: str, service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is waited for, also where a killed stack left its sockets' files; the error says how to start one."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with socket.socket(socket.AF_UNIX) as left:
        (tmp_path / "penstock").mkdir(mode=0o700)
        left.bind(str(tmp_path / "penstock" / ("trainers" if service == "sink" else service)))
    assert 2 == cli.main([command])
    [line] = capsys.readouterr().err.splitlines()
    assert f"no stack of this user runs here (no {service} listens at ipc://{tmp_path}" in line
    assert "start one by `penstock up SPEC`" in line


def test_several_sinks_have_a_row_each() -> None:
    """With its name, trainers and bytes; one sink needs no table."""
    both = (
        SinkRow(name="node-0", results="tcp://a:1", trainers=8, held=1_200, bytes=3_000_000, sent_bytes=2_000_000),
        SinkRow(name="node-1", results="tcp://b:1", trainers=8),
    )
    text = show(make_snapshot(sinks=both))
    rows = [line.split() for line in text.splitlines() if line.lstrip().startswith("node-")]
    assert [
        ["node-0", "8", "1,200", "3.0", "MB", "2.0", "MB", "0"],
        ["node-1", "8", "0", "0", "B", "0", "B", "0"],
    ] == rows
    assert "2 sinks" in text
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "node-0" not in show(make_snapshot(sinks=both[:1]))
