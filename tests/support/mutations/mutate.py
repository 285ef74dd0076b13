"""Valid messages of every kind, and random damage to their bytes, frames and JSON: a small fuzzer of the wire.

`attack.py` sends them to running services.
"""

import json
import random
from collections.abc import Callable, Collection
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from support.drawn import PLAIN
from support.hostile import Frames, message
from support.plans import make_plan, make_samples

from penstock.protocol import messages, wire
from penstock.protocol.errors import RemoteProtocolError
from penstock.protocol.trainer_messages import Batch, SampleReply
from penstock.protocol.wire import frames_of
from penstock.protocol.worker_messages import Result

#: What replaces a value in a header.
_EXTREMES: list[Any] = [
    *[None, True, -1, 0, 1, 2**31, 2**53, 2**62 - 1, 2**62, 2**63, 2**64, -(2**63), 10**30, 1e308, -1e308, 0.5],
    *[
        "",
        "\0",
        "x" * 5000,
        "../../etc/passwd",
        "\x1b[2J",
        "tcp://[bad:5",
        "\ud800",
        [],
        [[]],
        {},
        {"a": 1},
        [None] * 50,
    ],
]
_ALL = frozenset(messages.AnyMessage.__args__)
_NAMES = sorted(f"penstock/{wire.PROTOCOL_VERSION} {kind.__name__}" for kind in _ALL)


def valid_messages(examples: int) -> list[Frames]:
    """Return `examples` messages of every kind: drawn ones, and those with arrays for the plan of `make_plan`."""
    found: list[Frames] = []
    for number, kind in enumerate(PLAIN):

        @seed(number)
        @settings(
            max_examples=examples,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=tuple(HealthCheck),  # pyright: ignore[reportArgumentType]
        )
        @given(PLAIN[kind])
        def draw(content: messages.AnyMessage) -> None:
            found.append(message(content))

        draw()
    return found + _with_arrays() * max(1, examples // 4)


def _with_arrays() -> list[Frames]:
    plan = make_plan()
    arrays = make_samples(plan, 0, [0, 1, 2, 3], [0, 0, 0, 0])
    payload = [array.tobytes() for array in arrays]
    frames = frames_of(plan.schema, arrays)
    key = messages.TaskKey(stream="train", ordinal=3)
    made: list[messages.AnyMessage] = [
        Result(key=key, plan=plan.token, worker="w", frames=frames),
        Batch(sequence=0, start=0, stops=(4,), sizes=(4,), frames=frames),
        SampleReply(plan=plan, readers=1, positions=(0, 1, 2, 3), frames=frames),
    ]
    return [message(each, *payload) for each in made]


def mutated(rng: random.Random, valid: list[Frames]) -> Frames:
    """Return a valid message with one to three random changes."""
    frames = list(rng.choice(valid))
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        frames = rng.choice(_CHANGES)(rng, frames)
    return frames


def still_valid(frames: Frames, kinds: Collection[type[messages.AnyMessage]]) -> messages.AnyMessage | None:
    """Return the message if the damage left it valid, and of one of these kinds."""
    name = frames[0].rpartition(b" ")[2].decode("ascii", "replace") if frames else ""
    if not any(kind.__name__ == name for kind in kinds):
        return None
    try:
        return wire.decode(frames, wire.kinds(*kinds))[0]
    except RemoteProtocolError:
        return None


def _flip(rng: random.Random, frames: Frames) -> Frames:
    """Flip up to eight bits of one frame."""
    place = rng.randrange(len(frames))
    content = bytearray(frames[place])
    for _ in range(rng.randrange(1, 9) if content else 0):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return [*frames[:place], bytes(content), *frames[place + 1 :]]


def _splice(rng: random.Random, frames: Frames) -> Frames:
    """Cut a frame, double a part of it, or put noise into it."""
    place = rng.randrange(len(frames))
    content = frames[place]
    start, stop = sorted(rng.choices(range(len(content) + 1), k=2))
    middle = rng.choice([b"", content[start:stop] * 2, rng.randbytes(rng.randrange(1, 20))])
    return [*frames[:place], content[:start] + middle + content[stop:], *frames[place + 1 :]]


def _reorder(rng: random.Random, frames: Frames) -> Frames:
    """Drop, double or swap frames, or add one."""
    place = rng.randrange(len(frames))
    match rng.randrange(4):
        case 0:
            return [*frames[:place], *frames[place + 1 :]] or [b""]
        case 1:
            return [*frames[:place], *frames[place : place + 1] * rng.choice((2, 3, 50)), *frames[place + 1 :]]
        case 2:
            return [*frames, rng.randbytes(rng.randrange(100))]
        case _:
            return rng.sample(frames, len(frames))


def _rename(rng: random.Random, frames: Frames) -> Frames:
    """Say that it is another kind of message."""
    return [rng.choice(_NAMES).encode(), *frames[1:]]


def _edit(rng: random.Random, frames: Frames) -> Frames:
    """Change one value somewhere in the JSON header, remove it or add another."""
    if len(frames) < 2:
        return frames
    try:
        header = json.loads(frames[1])
    except (ValueError, RecursionError):
        return frames
    places = list(_places(header))
    if not places:
        return frames
    holder, name = rng.choice(places)
    match rng.randrange(6):
        case 0:
            del holder[name]
        case 1 if isinstance(holder, dict):
            holder[rng.choice(("", "admin", "path\0", "plan"))] = rng.choice(_EXTREMES)
        case 2 if isinstance(holder[name], list):
            holder[name] = holder[name] * rng.choice((2, 3, 200))
        case _:
            holder[name] = rng.choice(_EXTREMES)
    return [frames[0], json.dumps(header).encode(), *frames[2:]]


def _places(value: Any) -> Any:
    """Yield (container, key) of every value in parsed JSON."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


_CHANGES: list[Callable[[random.Random, Frames], Frames]] = [_flip, _splice, _reorder, _rename, *[_edit] * 6]
