"""Logs: lines on standard error, for people on a terminal and as JSON elsewhere.

The style `plain` is for containers: no colours, and no name of the service, which the engine prints before each line.
structlog renders lines on terminals. It is imported for these only: with what it imports in turn, it takes a start of
all services a tenth of a second of processor time.
"""

import json
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from penstock.protocol.runtime.printable import printable
from penstock.protocol.runtime.streams import ErrorStream

Level = Literal["debug", "info", "warning", "error"]
Style = Literal["auto", "console", "plain", "json"]


_ERRORS: Any = ErrorStream()
#: Held while a line is written: threads of a program share standard error.
_lock = threading.Lock()
#: The style that this process was configured with, if it was: what the library writes into its log looks the same.
_styles: list[Style] = []
_LEVELS: tuple[Level, ...] = get_args(Level)
_Render = Callable[[dict[str, Any]], str]


class Logger:
    """Writes a line for each event, with its values and those that all lines have."""

    def __init__(self, least: Level, style: Style, known: Mapping[str, object]) -> None:
        """Write events of the level `least` and above."""
        self._least, self._known = _LEVELS.index(least), dict(known)
        self._utc, self._render = _renderer(style)

    def debug(self, event: str, **values: object) -> None:
        """Write what helps to find a fault."""
        self._write("debug", event, values)

    def info(self, event: str, **values: object) -> None:
        """Write what happened."""
        self._write("info", event, values)

    def warning(self, event: str, **values: object) -> None:
        """Write what deserves a look."""
        self._write("warning", event, values)

    def error(self, event: str, **values: object) -> None:
        """Write what went wrong; with `exc_info`, an exception or what `sys.exc_info` returns, its traceback too."""
        self._write("error", event, values)

    def _write(self, level: Level, event: str, values: dict[str, Any]) -> None:
        if _LEVELS.index(level) < self._least:
            return
        now = datetime.now(UTC)
        at = now.isoformat().replace("+00:00", "Z") if self._utc else now.astimezone().strftime("%H:%M:%S")
        if trace := _trace(values.pop("exc_info", None)):
            values["exception"] = trace
        line = self._render({**self._known, **values, "event": event, "level": level, "timestamp": at})
        with _lock:
            _ERRORS.write(line + "\n")
            _ERRORS.flush()


def style_from(name: str | None) -> Style:
    """Return the style of this name; `plain` where there is none such."""
    return next((style for style in get_args(Style) if style == name), "plain")


def configure(service: str, level: Level, style: Style) -> Logger:
    """Set logging up for this process and return the service's logger; every line names the service."""
    _styles[:] = [style]
    return Logger(level, style, {"service": service})


def library_logger(service: str, **known: object) -> Logger:
    """Return a logger for code inside a user's program: the same lines, and the program's own logging left alone.

    The style is that of `configure` where this process called it, else console on a terminal and JSON elsewhere.
    """
    return Logger("info", _styles[0] if _styles else "auto", {"service": service, **known})


def _renderer(style: Style) -> tuple[bool, _Render]:
    """Return whether lines have the time in UTC, and what makes a line of an event."""
    if style == "json" or (style == "auto" and not _ERRORS.isatty()):
        return True, lambda event: json.dumps(event, default=str)
    if style == "plain":
        return False, lambda event: _plain(_spell_out(event))
    from structlog.dev import ConsoleRenderer  # noqa: PLC0415 - see above

    lines = ConsoleRenderer()
    return False, lambda event: lines(None, event["level"], _spell_out(event))


def _trace(given: Any) -> str:  # noqa: ANN401 - as logging and structlog take it
    """Return the traceback of an exception, of the triple that stands for one, or (of True) of the current one."""
    found = given if isinstance(given, BaseException) else None
    if given is True:
        found = sys.exc_info()[1]
    elif isinstance(given, tuple):
        found = given[1]
    return "".join(traceback.format_exception(found)).rstrip("\n") if found else ""


def _plain(event: dict[str, Any]) -> str:
    """Return `time event name=value …` with a level only where it is a warning or worse."""
    level, trace = event.pop("level", "info"), event.pop("exception", None)
    loud = f"{level}: " if level in ("warning", "error", "critical") else ""
    words = [f"{event.pop('timestamp', '')} {loud}{event.pop('event', '')}"]
    event.pop("service", None)
    for name, value in event.items():
        text = str(value)
        words.append(f"{name}={text if text and ' ' not in text else repr(text)}")
    return " ".join(words) + (f"\n{trace}" if trace else "")


def _spell_out(event: dict[str, Any]) -> dict[str, Any]:
    """Escape control characters in values; only a traceback keeps its lines."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = printable(value, "\n" if name == "exception" else "")
    return event
