"""Logs: JSON lines for programs, colours for people at a terminal. Never payloads."""

import logging
import sys
from typing import Any

import structlog


def configure(level: str = "INFO", *, as_json: bool | None = None) -> None:
    """Set structlog up for this process and the ones it forks; JSON unless stderr is a terminal."""
    if as_json is None:
        as_json = not sys.stderr.isatty()
    number = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
    # What libraries log through the standard library: only what is wrong, and pika repeats what we say.
    logging.basicConfig(level=max(number, logging.WARNING), format="%(levelname)s %(name)s %(message)s")
    for noisy in ("pika", "dramatiq"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    logging.getLogger("psycopg").addFilter(_hide_rows)
    renderer: Any = structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso")
            if as_json
            else structlog.processors.TimeStamper("%H:%M:%S", utc=False),
            structlog.processors.StackInfoRenderer(),
            *([structlog.processors.format_exc_info] if as_json else []),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )


def _hide_rows(record: logging.LogRecord) -> bool:
    """Behind its first line, an error of Postgres tells all that was in a row."""
    record.msg, record.args = record.getMessage().partition("\n")[0], None
    return True
