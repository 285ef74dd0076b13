"""The messages of workers: with the ventilator, and the results that they push to the sink."""

from typing import Annotated

from pydantic import Field

from penstock.protocol.plan import FieldSchema, StreamPlan
from penstock.protocol.records import (
    MOST_SINKS,
    Count,
    Done,
    Failure,
    Intervals,
    Lease,
    Message,
    Place,
    Record,
    Reference,
    SinkName,
    Spans,
    Task,
    TaskKey,
    Text,
)


class Hello(Message):
    """A worker introduces itself; its socket's identity is fresh."""

    worker: Text
    """Name for logs: host and process."""
    incarnation: Text
    """Fresh for each start of the process, and kept when it connects again: so a lost connection is not taken for a
    death."""
    host: Text
    """Host name."""
    slots: Annotated[int, Field(ge=1, le=256)]
    """How many tasks it wants to hold at once."""
    version: Text
    """Penstock's version."""


class Finished(Record, frozen=True):
    """Reports the units of work whose results have been sent to the sink."""

    done: tuple[Done, ...]
    """The units of work, in the order they were run."""


class SinkAddress(Message):
    """Where a sink takes results in."""

    name: SinkName = ""
    """Its name; empty: it is the only sink."""
    results: Text
    """Address to push results to."""
    incarnation: Text = ""
    """Fresh for each start of the sink: after a restart, it no longer knows the memory that was lent to it."""
    host: Text = ""
    """Name of its host."""


class WorkerWelcome(Message):
    """Answer to `Hello`: all that a stateless worker needs."""

    streams: tuple[StreamPlan, ...]
    """Every stream."""
    roots: dict[str, str]
    """The folder or URL of each root on the ventilator's host; a worker's own `--root` takes precedence."""
    sinks: Annotated[tuple[SinkAddress, ...], Field(max_length=MOST_SINKS)] = ()
    """The sinks that have said hello, by name; a sink without a name is the only one."""
    intervals: Intervals
    """Heartbeats and deadlines."""
    term: Count = 0
    """Of a ventilator with a standby: orders those that acted. Once a higher one was heard, lower ones are ignored."""


class Tasks(Record, frozen=True):
    """Units of work leased to this worker."""

    tasks: tuple[Task, ...]
    """In the order to run them."""


class Reset(Message):
    """The receiver is not known here: it has to say hello again, under a fresh identity."""


class Result(Message):
    """The samples of one unit of work; one frame for each field of the schema."""

    key: TaskKey
    """The unit of work."""
    plan: Text
    """`StreamPlan.token` of the plan that the worker used: under another plan the key names other samples."""
    worker: Text
    """The worker's name, as in its `Hello`."""
    lease: Lease = Lease()
    """The lease of the task: without it, or with another worker's, the result is dropped."""
    failures: tuple[Failure, ...] = ()
    """Items that yielded no samples. The frames hold the samples of the other items, by item and then by patch."""
    names: tuple[Text, ...] = ()
    """With failures: the names of the task's items as the task lists them, by which the sink checks their paths."""
    shares: Spans | None = None
    """Of the unit's samples, the positions of those that the frames hold, if they go to several sinks; None: all."""
    frames: tuple[FieldSchema, ...]
    """Type and whole shape of each frame, samples first."""
    memory: tuple[Reference, ...] = ()
    """Segments of shared memory that hold arrays of this message."""
    places: tuple[Place | None, ...] = ()
    """For each array, where it lies in `memory`; none (or an empty list): it is a frame of the message."""
    offers: Annotated[tuple[Reference, ...], Field(max_length=16)] = ()
    """Segments that the worker would like to use again; the sink releases those that it can open."""
