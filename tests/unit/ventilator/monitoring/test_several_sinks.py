"""The statistics of several sinks as one: what each did adds up, what all of them know counts once."""

from penstock.protocol.records import MOST_COUNT, MOST_S
from penstock.protocol.snapshot import SinkRow
from penstock.protocol.stats import EpochProgress, QuarantinedItem, ReaderStats, SinkStats, StreamStats
from penstock.ventilator.core.observation import LeasesObservation, SinkObservation
from penstock.ventilator.monitoring.evidence import Moment
from penstock.ventilator.monitoring.several_sinks import ledger_of, sink_row, together, total_row


def reader(rank: int, samples: int) -> ReaderStats:
    """Return one of two trainers."""
    epoch = EpochProgress(epoch=0, expected=100)
    return ReaderStats(
        reader=f"r{rank}", stream="train", rank=rank, world_size=2, position=0, epoch=epoch, samples=samples
    )


def statistics(rank: int, samples: int, failed: int) -> SinkStats:
    """Return what a sink says that serves one rank."""
    stream = StreamStats(
        stream="train",
        window=64,
        held=10,
        batches=samples // 10,
        samples=samples,
        bytes=samples * 7,
        quarantined_samples=failed if rank == 0 else 0,
        quarantined={"decode": failed},
        quarantined_items={"decode": failed},
    )
    return SinkStats(
        results={"accepted": 5, "duplicate": rank},
        bytes=samples * 7,
        streams=(stream,),
        readers=(reader(rank, samples),),
        quarantined=failed,
    )


def seen(now: float, *sinks: SinkObservation) -> LeasesObservation:
    """Return what the ventilator sees of a stack of sinks alone."""
    return LeasesObservation(now=now, workers=(), streams=(), sinks=sinks, lost={}, ledger=())


def test_what_each_sink_did_adds_up_and_failures_count_once() -> None:
    """Batches, samples and bytes are summed; an item that failed is known to both sinks, and is one item."""
    total = together([statistics(0, 60, 3), None, statistics(1, 50, 2)])
    [stream] = total.streams
    assert (11, 110, 770, 20, 64) == (stream.batches, stream.samples, stream.bytes, stream.held, stream.window)
    assert (3, {"decode": 3}, {"decode": 3}) == (
        stream.quarantined_samples,
        stream.quarantined,
        stream.quarantined_items,
    )
    assert (3, {"accepted": 10, "duplicate": 1}) == (total.quarantined, total.results)
    assert [0, 1] == [each.rank for each in total.readers]


def test_one_sink_is_shown_as_it_reports() -> None:
    """Nothing is added up, and the row of the whole stack is that of the sink."""
    told = statistics(0, 60, 3)
    sink = SinkObservation("ipc:///r", "ipc:///t", told, 1.0)
    assert told is together([told])
    row = sink_row(sink, told, 2.0)
    assert row == total_row([row], told)
    assert ("", 1, 10, 420) == (row.name, row.trainers, row.held, row.sent_bytes)
    assert total_row([], SinkStats()) is None


def test_the_totals_of_several_sinks_are_no_sink_of_their_own() -> None:
    """They have no name, the addresses of all, and the sums."""
    told = [statistics(0, 60, 3), statistics(1, 50, 2)]
    rows = [
        sink_row(SinkObservation(f"ipc:///{name}", "", stats, 1.0, name), stats, 2.0)
        for name, stats in zip(("a", "b"), told, strict=True)
    ]
    total = total_row(rows, together(told))
    assert total is not None
    assert ("", "ipc:///a, ipc:///b") == (total.name, total.results)
    assert (2, 20, 770, 3) == (total.trainers, total.held, total.sent_bytes, total.quarantined)
    assert ["a", "b"] == [row.name for row in rows]


def test_sums_of_the_largest_numbers_are_what_a_message_may_carry() -> None:
    """Of two streams of one sink, and of two sinks: neither ends the ventilator, and the page can be read."""
    streams = tuple(
        StreamStats(
            stream=name,
            held=MOST_COUNT,
            batches=MOST_COUNT,
            samples=MOST_COUNT,
            bytes=MOST_COUNT,
            starved_s=MOST_S,
            blocked_s=MOST_S,
            quarantined={"decode": MOST_COUNT},
        )
        for name in ("train", "valid")
    )
    sink = SinkStats(
        results={"accepted": MOST_COUNT},
        rejected={"size": MOST_COUNT},
        contradicted={"w": MOST_COUNT},
        bytes=MOST_COUNT,
        quarantined=MOST_COUNT,
        restarts=MOST_COUNT,
        streams=streams,
    )
    rows = [sink_row(SinkObservation("ipc:///r", "", sink, 1.0, name), sink, 2.0) for name in ("a", "b")]
    stats = together([sink, sink])
    total = total_row(rows, stats)
    assert total is not None
    assert stats == SinkStats.model_validate_json(stats.model_dump_json())
    assert total == SinkRow.model_validate_json(total.model_dump_json())
    assert [MOST_COUNT] * 3 == [total.held, total.sent_bytes, total.outcomes["accepted"]]


def test_a_failure_that_two_sinks_report_is_listed_once() -> None:
    """The newest lines first, as they came; one sink's lines stay as they are."""
    lines = [
        QuarantinedItem(
            number=number, stream="train", epoch=0, item=item, path=f"{item}.jpg", kind="read", reason="bad"
        )
        for number, item in ((4, 2), (3, 1), (3, 2), (2, 1))
    ]
    assert [2, 1] == [line.item for line in ledger_of(lines, 2)]
    assert tuple(lines) == ledger_of(lines, 1)


def test_each_trainer_is_measured_by_the_clock_of_its_own_sink() -> None:
    """Sinks report at their own times; a rate divides by the time between the reports of the trainer's sink."""

    def moment(now: float, at: tuple[float, float], samples: int) -> Moment:
        sinks = [
            SinkObservation("r", "t", statistics(rank, samples, 0), at[rank], name)
            for rank, name in enumerate(("a", "b"))
        ]
        return Moment.of(seen(now, *sinks))

    past = [moment(10.0, (9.0, 10.0), 100), moment(20.0, (19.0, 15.0), 200)]
    first, second = (past[-1].reader(name, past) for name in ("r0", "r1"))
    assert first is not None
    assert second is not None
    assert (10.0, 20.0) == (first.rate, second.rate)
    assert 400 == past[-1].sent["samples"]
