"""Logs: structlog to standard error, for people on a terminal and as JSON lines elsewhere.

The style `plain` is for containers: no colours, and no name of the service, which the engine prints before each line.
"""

import logging
from collections.abc import MutableMapping
from typing import Any, Literal, get_args

import structlog

from penstock.protocol.runtime.printable import printable
from penstock.protocol.runtime.streams import ErrorStream

Level = Literal["debug", "info", "warning", "error"]
Style = Literal["auto", "console", "plain", "json"]


#: One lock for all loggers.
_ERRORS: Any = ErrorStream()
#: The style that this process was configured with, if it was: what the library writes into its log looks the same.
_styles: list[Style] = []


def style_from(name: str | None) -> Style:
    """Return the style of this name; `plain` where there is none such."""
    return next((style for style in get_args(Style) if style == name), "plain")


def configure(service: str, level: Level, style: Style) -> structlog.typing.FilteringBoundLogger:
    """Set logging up for this process and return the service's logger; every line names the service."""
    _styles[:] = [style]
    structlog.configure(
        processors=_processors(style),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=_ERRORS),
        cache_logger_on_first_use=True,
    )
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(service=service)
    return logger


def library_logger(service: str, **known: object) -> structlog.typing.FilteringBoundLogger:
    """Return a logger for code inside a user's program: the same lines, and the program's own logging left alone.

    The style is that of `configure` where this process called it, else console on a terminal and JSON elsewhere.
    """
    logger: structlog.typing.FilteringBoundLogger = structlog.wrap_logger(
        structlog.WriteLogger(_ERRORS),
        processors=_processors(_styles[0] if _styles else "auto"),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    ).bind(service=service, **known)
    return logger


def _processors(style: Style) -> list[structlog.typing.Processor]:
    console = style in ("console", "plain") or (style == "auto" and _ERRORS.isatty())
    lines: structlog.typing.Processor = _plain if style == "plain" else structlog.dev.ConsoleRenderer()
    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if console else "iso", utc=not console),
        structlog.processors.format_exc_info,
        *([_spell_out, lines] if console else [structlog.processors.JSONRenderer(default=str)]),
    ]


def _plain(_: Any, __: str, event: MutableMapping[str, Any]) -> str:  # noqa: ANN401 - structlog's
    """Return `time event name=value …` with a level only where it is a warning or worse."""
    level, trace = event.pop("level", "info"), event.pop("exception", None)
    loud = f"{level}: " if level in ("warning", "error", "critical") else ""
    words = [f"{event.pop('timestamp', '')} {loud}{event.pop('event', '')}"]
    event.pop("service", None)
    for name, value in event.items():
        text = str(value)
        words.append(f"{name}={text if text and ' ' not in text else repr(text)}")
    return " ".join(words) + (f"\n{trace}" if trace else "")


def _spell_out(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:  # noqa: ANN401 - structlog's
    """Escape control characters in values; only a traceback keeps its lines."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = printable(value, "\n" if name == "exception" else "")
    return event
