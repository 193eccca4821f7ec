"""A mail server, and a worker that sends through it."""

from collections.abc import Iterator

import pytest
from tests.notifications.mailbox import Mailbox
from tests.one_worker import OneWorker

from penstock.notifications.handlers import send_email


@pytest.fixture
def mailbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mailbox]:
    """A mail server to which the settings point."""
    with Mailbox() as mailbox:
        monkeypatch.setenv("PENSTOCK_SMTP_URL", mailbox.url)
        monkeypatch.setenv("PENSTOCK_SMTP_SENDER", "jobs@example.org")
        yield mailbox


@pytest.fixture
def worker(ledger_url: str) -> Iterator[OneWorker]:
    """A worker that knows the platform's own e-mail handler."""
    with OneWorker(ledger_url, [send_email]) as worker:
        yield worker


@pytest.fixture
def sqlite_worker(sqlite_url: str) -> Iterator[OneWorker]:
    """The same on one kind of database, for what has nothing to do with it."""
    with OneWorker(sqlite_url, [send_email]) as worker:
        yield worker
