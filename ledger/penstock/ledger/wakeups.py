"""Who claims straight from Postgres is told at once that rows have come to wait, with LISTEN and NOTIFY.

A notification only saves time: whoever listens also looks by itself, so that one that is lost does no harm. It is sent
only while somebody waits for one, which a lease tells: a commit that notifies holds a lock of the whole server, and
must not cost those anything who get their jobs through RabbitMQ, or who find the next job waiting anyway.
"""

import threading
import time
from typing import Any

import psycopg

from penstock.ledger.database import LedgerUnavailable, Session, Statement

CHANNEL = "penstock_waiting"
LEASE = "listeners"
LEASE_SECONDS = 15.0
RENEW_SECONDS = 5.0
# How soon a listener notices that it is to stop.
SLICE_SECONDS = 0.2


def announce(session: Session) -> None:
    """Rows have come to wait: tell it with the commit of the open transaction, if somebody listens."""
    if session.announces:
        session.run(_ANNOUNCE)


class Wakeups:
    """Listens on an engine session's own connection, between its statements."""

    def __init__(self, session: Session, *, listener_id: str) -> None:
        self._session = session
        self._listener_id = listener_id
        self._renewed_at = -RENEW_SECONDS
        self._driver: Any = session.connection.connection.driver_connection
        session.connection.exec_driver_sql(f"LISTEN {CHANNEL}")

    def forget(self) -> None:
        """What was announced before this moment is found by the claim that follows."""
        self._receive(0, stop_after=None)

    def promise_to_listen(self) -> bool:
        """Keep the lease, so that announcements are made. After True look once more: what came before was not told."""
        if time.monotonic() - self._renewed_at < RENEW_SECONDS:
            return False
        self._session.run(_LISTEN, holder=self._listener_id, seconds=LEASE_SECONDS)
        self._renewed_at = time.monotonic()
        return True

    def wait(self, seconds: float, *, stopping: threading.Event) -> None:
        """Until something is announced, or this time is over. Raises `LedgerUnavailable` if the connection is lost."""
        ends_at = time.monotonic() + seconds
        while (left := ends_at - time.monotonic()) > 0 and not stopping.is_set():
            if self._receive(min(left, SLICE_SECONDS), stop_after=1):
                return

    def _receive(self, seconds: float, *, stop_after: int | None) -> bool:
        try:
            return len(list(self._driver.notifies(timeout=seconds, stop_after=stop_after))) > 0
        except psycopg.Error as error:
            raise LedgerUnavailable("the connection was lost while waiting for a notification") from error


_ANNOUNCE = Statement(
    lambda dialect: (
        f"""
        SELECT pg_notify('{CHANNEL}', '') FROM leases WHERE name = '{LEASE}' AND expires_at > {dialect.now}
    """
    )
)

# Everybody who waits holds the same lease: it says that somebody does.
_LISTEN = Statement(
    lambda dialect: (
        f"""
        INSERT INTO leases (name, holder, expires_at) VALUES ('{LEASE}', :holder, {dialect.later(":seconds")})
        ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at
    """
    )
)
