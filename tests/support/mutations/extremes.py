"""Messages of every kind with each number and each text at its extremes, one at a time, from peers that are admitted.

`mutate.py` changes messages at random; here nothing is left to chance: every leaf of a header takes every extreme.
"""

import json
import secrets
from collections.abc import Iterator
from typing import Any

from support.hostile import Frames, message
from support.mutations.mutate import valid_messages

import penstock
from penstock.launcher.stack import Addresses
from penstock.protocol import messages
from penstock.protocol.runtime.service import host_name

#: What a number is replaced with: ends of ranges, beyond them, and what is small enough to mean a task of the stream.
NUMBERS: tuple[float | None, ...] = (-1, 0, 1, 2, 2**31, 2**53, 2**61, 2**62 - 2, 2**62 - 1, 2**62, 2**64, 1e308, None)
#: What text is replaced with.
TEXTS = (
    "",
    "\0",
    "x" * 4096,
    "x" * 4097,
    "\x1b[2J\u202e",
    "tcp://[bad:5",
    "tcp://a:0",
    "ipc:///a\0b",
    "ipc://" + "y" * 300,
)
#: Kinds of message, by the socket and the role of their sender.
KINDS: dict[str, tuple[type[messages.AnyMessage], ...]] = {
    "ventilator, as a worker": (
        messages.Hello,
        messages.Finished,
        messages.Heartbeat,
        messages.Goodbye,
        messages.Story,
        messages.StatusRequest,
    ),
    "ventilator, as a sink": (
        messages.SinkHello,
        messages.Progress,
        messages.Heartbeat,
        messages.Goodbye,
        messages.ListPaths,
        messages.Story,
        messages.StatusRequest,
    ),
    "sink: results": (messages.Result,),
    "sink: trainers": (
        messages.Subscribe,
        messages.Credit,
        messages.Heartbeat,
        messages.Goodbye,
        messages.SampleRequest,
        messages.Story,
    ),
}
#: A report with a number in every place, of tasks that the stream has.
_PROGRESS = messages.Progress(
    sequence=5,
    needs=(
        messages.StreamNeed(
            stream="train", missing=((0, 2), (4, 5)), came=((2, 3),), partial=((4, (0, 1)),), doubted=((1, 0, (1,)),)
        ),
    ),
)


def introduction(name: str, addresses: Addresses) -> list[Frames]:
    """Return what a peer says first, so that it is admitted."""
    version = penstock.__version__
    match name:
        case "ventilator, as a worker":
            return [message(messages.Hello(worker="w", incarnation="w", host="h", slots=1, version=version))]
        case "ventilator, as a sink":
            hello = messages.SinkHello(
                incarnation=secrets.token_hex(4),
                results=addresses.results,
                trainers=addresses.trainers,
                host=host_name(),  # it takes the place of the sink there
                version=version,
            )
            return [message(hello)]
        case "sink: trainers":
            return [message(messages.Subscribe(stream="train", limit=1, version=version))]
        case _:
            return []


def extreme_messages(name: str) -> Iterator[Frames]:
    """Yield messages for a socket: of each kind one, whose every number and text takes every extreme in turn."""
    found = valid_messages(4)
    for kind in KINDS[name]:
        own = [frames for frames in found if frames[0].rpartition(b" ")[2].decode() == kind.__name__]
        full = max(own, key=lambda frames: len(frames[1]))
        header = json.loads(message(_PROGRESS)[1] if kind is messages.Progress else full[1])
        known = {"version": penstock.__version__, "stream": "train"}
        header |= {name: value for name, value in known.items() if name in header}
        for changed in _changed(header):
            yield [full[0], json.dumps(changed).encode(), *full[2:]]


def _changed(value: Any) -> Iterator[Any]:
    """Yield copies of parsed JSON, in each of which one number or text is another."""
    if isinstance(value, dict):
        for key, inner in value.items():
            for changed in _changed(inner):
                yield value | {key: changed}
    elif isinstance(value, list):
        for at, inner in enumerate(value):
            for changed in _changed(inner):
                yield [*value[:at], changed, *value[at + 1 :]]
    elif isinstance(value, str):
        yield from TEXTS
    elif value is not None and not isinstance(value, bool):
        yield from NUMBERS
