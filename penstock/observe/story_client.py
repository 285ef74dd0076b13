"""Asks services on this host for their part of a task's story, over HTTP at their health addresses.

The ventilator's part comes with the status, see `status_client.py`. Each service remembers a bounded number of events,
and tells at most 200 of one task.
"""

import http.client
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import quote

from pydantic import TypeAdapter, ValidationError

from penstock.protocol.event_log import MOST_TOLD, StoryEvent
from penstock.protocol.records import TaskKey
from penstock.protocol.runtime.health import STORY_PATH, open_connection

#: Largest answer that is read (bytes): each event has at most 4,096 characters.
_MOST_BYTES = 8_000_000
_EVENTS = TypeAdapter(tuple[StoryEvent, ...])


@dataclass(frozen=True, slots=True)
class Part:
    """What one service remembers of a task."""

    service: str
    #: When the answer came (monotonic s).
    at: float
    story: tuple[StoryEvent, ...] = ()
    #: Why the service told nothing; empty if it answered.
    why: str = ""


def ask_service(address: str, key: TaskKey, timeout_s: float) -> Part:
    """Return the part of the service whose health address is `host:port`, `http://host:port/…` or `/path`."""
    now = time.monotonic
    item = "" if key.item_offset is None else f".{key.item_offset}"
    try:
        connection = open_connection(address, timeout_s)
        try:
            connection.request("GET", STORY_PATH + quote(f"{key.stream}/{key.ordinal}{item}"))
            answer = connection.getresponse()
            body = answer.read(_MOST_BYTES)
        finally:
            connection.close()
        told = json.loads(body)
        if answer.status != HTTPStatus.OK:
            return Part(
                address, now(), why=str(told.get("why", f"it answers {answer.status}: is that a service's --health?"))
            )
        return Part(address, now(), _EVENTS.validate_python(told["story"][-MOST_TOLD:]))
    except (OSError, http.client.HTTPException) as error:
        return Part(address, now(), why=f"no answer ({error}): give the host:port or /path of its --health")
    except (ValueError, ValidationError, AttributeError, KeyError, TypeError) as error:
        return Part(address, now(), why=f"its answer is no story of this release ({type(error).__name__})")


def merge(parts: Sequence[Part], now: float) -> list[tuple[str, StoryEvent]]:
    """Return the events of all parts, oldest first, each with its service; their ages count from `now` (monotonic s).

    An answer travels for some milliseconds: events of two services that are as close may stand in either order.
    """
    told: Iterable[tuple[str, StoryEvent]] = (
        (part.service, event.model_copy(update={"ago_s": event.ago_s + now - part.at}))
        for part in parts
        for event in part.story
    )
    return sorted(told, key=lambda each: -each[1].ago_s)
