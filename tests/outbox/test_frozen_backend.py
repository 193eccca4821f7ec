"""A relay whose session stands still on the server, behind a connection that stays open."""

import os
import signal
from contextlib import ExitStack, closing, suppress

import pytest
from sqlalchemy import create_engine
from tests.outbox.relays import relaying
from tests.producers.queues import AddRow, Queues
from tests.servers.postgres import PrivatePostgres
from tests.waiting import until

from penstock.ledger import bounded_connection
from penstock.producers.outbox import enqueue
from penstock.producers.outbox.address import create_outbox, open_store
from penstock.producers.outbox.postgres import PostgresStore
from penstock.producers.outbox.store import Store


class Freezing:
    """Opens stores, of which the first stands still when it is first asked for `act`."""

    def __init__(self, url: str, *, act: str) -> None:
        self._url, self._act = url, act
        self._pids: list[int] = []

    @property
    def has_frozen(self) -> bool:
        """Whether it has come to that."""
        return bool(self._pids)

    def open(self) -> Store:
        """As `open_store` does."""
        store = open_store(self._url)
        assert isinstance(store, PostgresStore)
        asked = getattr(store, self._act)

        def frozen(*words: object, **options: object) -> object:
            if not self._pids:
                self._pids.append(store._connection.info.backend_pid)
                os.kill(self._pids[0], signal.SIGSTOP)
            return asked(*words, **options)

        setattr(store, self._act, frozen)
        return store

    def thaw(self) -> None:
        """Let it go on."""
        for pid in self._pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("act", ["take", "settle", "lag", "wait"])
def test_a_relay_goes_on_without_a_connection_behind_which_nobody_moves(
    act: str, private_postgres: PrivatePostgres, queues: Queues, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it holds locked there waits until that ends; everything else is published, and nothing is lost."""
    url = private_postgres.create_database()
    create_outbox(url)
    engine = create_engine(url)
    freezing = Freezing(url, act=act)
    with ExitStack() as stack:
        stack.callback(engine.dispose)
        store = stack.enter_context(closing(open_store(url)))
        monkeypatch.setattr(bounded_connection, "ANSWER_SECONDS_MAX", 1.0)
        stack.enter_context(relaying(url, queues.url, open_=freezing.open))
        stack.callback(freezing.thaw)
        with engine.begin() as connection:
            added = {enqueue(connection, AddRow(n=0))}
        until(lambda: freezing.has_frozen, what="a session that stands still")
        with engine.begin() as connection:
            later = enqueue(connection, AddRow(n=1))
        published: list[str] = []
        until(lambda: later in queues.fill(published), timeout_seconds=20, what="the later job")
        freezing.thaw()
        until(lambda: store.lag()[:2] == (0, 0), what="an empty outbox")
        assert set(queues.fill(published)) == added | {later}
