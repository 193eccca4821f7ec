"""What libraries log is bare of what is in rows."""

import logging

import pytest

from penstock.console import logs


def test_errors_of_postgres_are_logged_by_their_first_line(caplog: pytest.LogCaptureFixture) -> None:
    """psycopg warns of one that it cannot raise, DETAIL and all."""
    logs.configure()
    error = 'duplicate key value violates unique constraint "one"\nDETAIL:  Key (name)=(Ann) already exists.'
    logging.getLogger("psycopg").warning("error ignored terminating %r: %s", "pipeline", error)
    assert caplog.messages == [
        "error ignored terminating 'pipeline': duplicate key value violates unique constraint \"one\""
    ]
