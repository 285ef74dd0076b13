"""Hypothesis strategies for message models, from their annotations: whatever a model allows may be drawn.

`drawn` turns annotations into strategies, as far as statistics and snapshots use them; `PLAIN` has one strategy for
each kind of message without arrays.
"""

import types
import typing
from typing import Any, TypeVar

from hypothesis import strategies as st
from pydantic import BaseModel
from support.plans import LEASE_KEY, make_plan, make_task

from penstock.protocol.messages import (
    AnyMessage,
    Credit,
    Done,
    Drain,
    EpochEnd,
    Failed,
    Failing,
    Failure,
    Finished,
    Goodbye,
    Heartbeat,
    Hello,
    Intervals,
    ListPaths,
    Made,
    Outcomes,
    Paths,
    Progress,
    Quarantined,
    Refused,
    Reset,
    SampleRequest,
    SinkAddress,
    SinkHello,
    SinkStats,
    SinkWelcome,
    Snapshot,
    StatusRequest,
    Story,
    StoryRequest,
    StreamNeed,
    Subscribe,
    TaskKey,
    Tasks,
    Timings,
    TrainerWelcome,
    WorkerStats,
    WorkerWelcome,
)
from penstock.protocol.records import Record
from penstock.protocol.stats import FeedWaits

Drawn = TypeVar("Drawn", bound=BaseModel | Record)


def drawn(model: type[Drawn], **known: st.SearchStrategy[Any]) -> st.SearchStrategy[Drawn]:
    """Return models with fields as they may be; `known` are the strategies of fields that are to be narrower."""
    if issubclass(model, BaseModel):
        rules = {name: (info.annotation, tuple(info.metadata)) for name, info in model.model_fields.items()}
    else:
        rules = {name: (hint, ()) for name, hint in typing.get_type_hints(model, include_extras=True).items()}
    fields = {name: known[name] if name in known else _of(*rule) for name, rule in rules.items()}
    return st.fixed_dictionaries(fields).map(lambda values: model(**values))


def _of(annotation: Any, metadata: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        field = arguments[1:]
        return _of(arguments[0], (*field, *(rule for info in field for rule in getattr(info, "metadata", ()))))
    if origin is typing.Literal:
        return st.sampled_from(arguments)
    if origin in (types.UnionType, typing.Union):
        parts: list[st.SearchStrategy[Any]] = [
            st.none() if part is types.NoneType else _of(part, ()) for part in arguments
        ]
        return st.one_of(*parts)
    if origin is tuple:
        return st.lists(_of(arguments[0], ()), max_size=3).map(tuple)
    if origin is dict:
        return st.dictionaries(st.text(max_size=8), _of(arguments[1], ()), max_size=3)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel | Record):
        return drawn(annotation)
    return _number(annotation, metadata)


def _number(annotation: Any, metadata: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    told = ((name, getattr(rule, name, None)) for rule in metadata for name in ("ge", "le", "lt"))
    bounds = {name: bound for name, bound in told if bound is not None}
    if annotation is int:
        return st.integers(bounds.get("ge"), bounds.get("le", bounds.get("lt", 2**62) - 1))
    if annotation is float:
        return st.floats(bounds.get("ge"), bounds.get("le", 1e12), allow_nan=False)
    if annotation is bool:
        return st.booleans()
    assert annotation is str, annotation
    return st.text(max_size=8)


def some(of: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return tuples of a few."""
    return st.lists(of, max_size=3).map(tuple)


_texts = st.text(max_size=20)
_names = st.text("abc.-:", max_size=8)
_counts = st.integers(0, 2**62 - 1)
_seconds = st.floats(0, 1e6)
some_key = st.builds(TaskKey, stream=_texts, ordinal=_counts, item_offset=st.none() | _counts)
some_failure = st.builds(
    Failure, offset=_counts, item=_counts, path=_texts, reason=_texts, attempts=_counts, worker=_texts
)
_plans = st.builds(
    make_plan,
    seed=st.integers(0, 2**63 - 1),
    items=st.integers(1, 10**9),
    patches=st.integers(1, 3),
    mix=st.integers(1, 4),
    batch_size=st.integers(1, 64),
    drop_remainder=st.booleans(),
    fingerprint=_texts,
)
_tasks = st.builds(
    make_task, st.just(make_plan()), st.builds(TaskKey, stream=st.just("train"), ordinal=st.integers(0, 50))
)
_timings = st.builds(
    Timings, read_s=_seconds, decode_s=_seconds, transform_s=_seconds, send_s=_seconds, parts_s=_seconds
)
_intervals = st.builds(Intervals, heartbeat_s=st.floats(0.01, 10), silence_s=st.floats(0.1, 100))
_ranges = st.lists(st.tuples(_counts, _counts), max_size=4).map(tuple)
_needs = st.builds(
    StreamNeed,
    stream=_texts,
    missing=_ranges,
    came=_ranges,
    partial=st.lists(st.tuples(_counts, st.lists(_counts, max_size=3).map(tuple)), max_size=3).map(tuple),
    doubted=st.lists(st.tuples(_counts, _counts, st.lists(_counts, max_size=2).map(tuple)), max_size=3).map(tuple),
    stopped=_texts,
    lacks=_ranges,
    made=some(drawn(Made)),
    failing=some(drawn(Failing)),
    settled=_ranges,
    failed=some(drawn(Failed)),
)


#: How to draw each kind of message that carries no arrays.
PLAIN: dict[type[AnyMessage], st.SearchStrategy[Any]] = {
    Hello: st.builds(Hello, worker=_texts, incarnation=_texts, host=_texts, slots=st.integers(1, 256), version=_texts),
    Finished: st.builds(Finished, done=some(st.builds(Done, key=some_key, timings=_timings))),
    Heartbeat: st.builds(
        Heartbeat,
        running=st.none() | some(some_key),
        sinks=some(_texts),
        position=st.none() | _counts,
        worker_stats=st.none() | drawn(WorkerStats),
        sink_stats=st.none() | drawn(SinkStats),
        ledger=_counts,
    ),
    Goodbye: st.builds(Goodbye, unstarted=some(some_key)),
    WorkerWelcome: st.builds(
        WorkerWelcome,
        streams=some(_plans),
        roots=st.dictionaries(_texts, _texts),
        sinks=some(drawn(SinkAddress, name=_names)),
        intervals=_intervals,
    ),
    Tasks: st.builds(Tasks, tasks=some(_tasks)),
    Drain: st.builds(Drain, reason=_texts),
    Reset: st.just(Reset()),
    SinkHello: st.builds(SinkHello, incarnation=_texts, name=_names, results=_texts, version=_texts),
    Progress: st.builds(Progress, sequence=_counts, needs=some(_needs)),
    SinkWelcome: st.builds(SinkWelcome, streams=some(_plans), intervals=_intervals, leases=st.just(LEASE_KEY)),
    Outcomes: drawn(Outcomes, settled=_ranges),
    Quarantined: st.builds(Quarantined, key=some_key, failure=some_failure),
    ListPaths: st.builds(ListPaths, stream=_texts, start=_counts),
    Paths: st.builds(Paths, stream=_texts, start=_counts, total=_counts, paths=some(_texts)),
    Subscribe: st.builds(
        Subscribe,
        stream=_texts,
        rank=_counts,
        world_size=st.integers(1, 65_536),
        position=_counts,
        fingerprint=_texts,
        limit=_counts,
        version=_texts,
    ),
    Credit: st.builds(Credit, consumed=_counts, limit=_counts, feed=st.none() | drawn(FeedWaits)),
    TrainerWelcome: st.builds(TrainerWelcome, plan=_plans, position=_counts, intervals=_intervals),
    EpochEnd: st.builds(
        EpochEnd,
        epoch=_counts,
        sequence=_counts,
        stop=_counts,
        expected=_counts,
        delivered=_counts,
        quarantined=_counts,
        dropped=_counts,
    ),
    SampleRequest: st.builds(
        SampleRequest, stream=_texts, position=_counts, count=st.integers(1, 1000), version=_texts
    ),
    Refused: st.builds(
        Refused,
        kind=st.sampled_from(["fingerprint", "stream", "position", "limit", "budget", "transform"]),
        reason=_texts,
    ),
    StatusRequest: drawn(StatusRequest),
    Snapshot: drawn(Snapshot),
    StoryRequest: drawn(StoryRequest),
    Story: drawn(Story),
}
