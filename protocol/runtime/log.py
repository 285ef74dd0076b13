"""Logs: structlog to standard error, for people on a terminal and as JSON lines elsewhere."""

import logging
import sys
from typing import Literal

import structlog

Level = Literal["debug", "info", "warning", "error"]
Style = Literal["auto", "console", "json"]


def configure(service: str, level: Level, style: Style) -> structlog.typing.FilteringBoundLogger:
    """Set logging up for this process and return the service's logger; every line names the service."""
    structlog.configure(
        processors=_processors(style),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(service=service)
    return logger


def library_logger(service: str, **known: object) -> structlog.typing.FilteringBoundLogger:
    """Return a logger for code inside a user's program: the same lines, and the program's own logging left alone."""
    logger: structlog.typing.FilteringBoundLogger = structlog.wrap_logger(
        structlog.WriteLogger(sys.stderr),
        processors=_processors("auto"),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    ).bind(service=service, **known)
    return logger


def _processors(style: Style) -> list[structlog.typing.Processor]:
    console = style == "console" or (style == "auto" and sys.stderr.isatty())
    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if console else "iso", utc=not console),
        structlog.processors.format_exc_info,
        structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer(default=str),
    ]
