"""What dispatcher, scheduler, rescuer and replier are: a loop over the ledger that outages only hold up."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import pika.exceptions
from sqlalchemy.exc import DBAPIError

from penstock.ledger.database import LedgerUnavailable, Session
from penstock.producers.client import PublishError
from penstock.producers.client.backoff import Backoff
from penstock.workers.sessions import close_quietly

if TYPE_CHECKING:
    from penstock.ledger.database import Ledger

STOP_SECONDS = 5.0
OUTAGE_WAIT_SECONDS_MAX = 2.0
OUTAGES = (DBAPIError, LedgerUnavailable, pika.exceptions.AMQPError, PublishError, OSError)


class Loop(ABC):
    """One thread that makes pass after pass on a session of its own. Any number of processes may run the same loop."""

    def __init__(self, ledger: Ledger, *, name: str, healthy_seconds: float, log: Any) -> None:
        self.name = name
        self.passed_at = time.monotonic()
        self._ledger = ledger
        self._healthy_seconds = healthy_seconds
        self._log = log
        self._session: Session | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, *, timeout_seconds: float = STOP_SECONDS) -> None:
        """Let the pass that is under way come to its end, and wait for that."""
        self._stopping.set()
        self._thread.join(timeout_seconds)

    @property
    def is_healthy(self) -> bool:
        """Whether passes end without an error, with or without work."""
        return time.monotonic() - self.passed_at < self._healthy_seconds

    @abstractmethod
    def _pass(self, session: Session) -> float:
        """Look once and do what there is to do; returns for how many seconds to wait."""

    def _upset(self) -> None:  # noqa: B027 - not every loop has something to do here
        """A pass has failed: what it had opened may be broken, and what was seen before it counts no more."""

    def _sign_off(self, session: Session) -> None:  # noqa: B027 - see there
        """The last pass is over."""

    def _run(self) -> None:
        backoff = Backoff(first_seconds=0.05, most_seconds=OUTAGE_WAIT_SECONDS_MAX)
        failures, wait_seconds = 0, 0.0
        while not self._stopping.wait(wait_seconds):
            try:
                self._session = self._session or self._ledger.session()
                wait_seconds = self._pass(self._session)
            except Exception as error:
                failures += 1
                wait_seconds = backoff.seconds(failures)
                self._report(error)
                self._upset()
                self._drop_session()
            else:
                failures = 0
                self.passed_at = time.monotonic()
        self._end()

    def _report(self, error: Exception) -> None:
        if isinstance(error, OUTAGES):
            detail = str(error).partition("\n")[0][:200]
            self._log.warning(f"the {self.name} is held up", error=type(error).__name__, detail=detail)
        else:
            self._log.error(f"the {self.name} stumbled", exc_info=error)

    def _end(self) -> None:
        try:
            if self._session is not None:
                self._sign_off(self._session)
        except DBAPIError:
            self._log.debug("a lease runs out by itself", loop=self.name)
        self._drop_session()

    def _drop_session(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            close_quietly(session)
