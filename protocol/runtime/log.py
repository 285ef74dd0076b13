"""Logs: structlog to standard error, for people on a terminal and as JSON lines elsewhere."""

import logging
from collections.abc import MutableMapping
from typing import Any, Literal

import structlog

from penstock.protocol.runtime.printable import printable
from penstock.protocol.runtime.streams import ErrorStream

Level = Literal["debug", "info", "warning", "error"]
Style = Literal["auto", "console", "json"]


#: One for all loggers: they take turns by it.
_ERRORS: Any = ErrorStream()


def configure(service: str, level: Level, style: Style) -> structlog.typing.FilteringBoundLogger:
    """Set logging up for this process and return the service's logger; every line names the service."""
    structlog.configure(
        processors=_processors(style),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=_ERRORS),
        cache_logger_on_first_use=True,
    )
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(service=service)
    return logger


def library_logger(service: str, **known: object) -> structlog.typing.FilteringBoundLogger:
    """Return a logger for code inside a user's program: the same lines, and the program's own logging left alone."""
    logger: structlog.typing.FilteringBoundLogger = structlog.wrap_logger(
        structlog.WriteLogger(_ERRORS),
        processors=_processors("auto"),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    ).bind(service=service, **known)
    return logger


def _processors(style: Style) -> list[structlog.typing.Processor]:
    console = style == "console" or (style == "auto" and _ERRORS.isatty())
    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if console else "iso", utc=not console),
        structlog.processors.format_exc_info,
        *(
            [_spell_out, structlog.dev.ConsoleRenderer()]
            if console
            else [structlog.processors.JSONRenderer(default=str)]
        ),
    ]


def _spell_out(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:  # noqa: ANN401 - structlog's
    """Let no value act on the terminal; only a traceback has lines."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = printable(value, "\n" if name == "exception" else "")
    return event
