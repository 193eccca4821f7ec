"""The outbox as a relay sees it, on either kind of database."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from penstock.producers.outbox.rows import Row

# A row that no broker takes is tried again after this long, then after twice as long, and so on.
HOLD_SECONDS = 30
HOLD_SECONDS_MAX = 600
HOLD_DOUBLINGS_MAX = 5


class Refused(NamedTuple):
    """A row to be held, and why."""

    id: str
    reason: str


class Held(NamedTuple):
    """A row that is held; times are UTC."""

    id: str
    type: str
    reason: str
    tries: int
    created_at: str
    retry_at: str


class Lag(NamedTuple):
    """What has not been published yet. `oldest_seconds` is the age of the oldest row that is not held."""

    waiting: int
    held: int
    oldest_seconds: float


class OutboxUnavailable(ConnectionError):
    """The outbox's database cannot be reached; the text says what to do."""


class OutboxMissing(RuntimeError):
    """The database has no outbox."""

    def __init__(self) -> None:
        super().__init__("there is no table penstock_outbox here: `penstock outbox create` makes it")


class Store(Protocol):
    """One connection to an outbox. What its database raises ends it: close it and open another one."""

    def take(self, *, after: str | None, limit: int, without: Sequence[str]) -> list[Row]:
        """Rows by id, from `after` on, not of these types, that no other relay has; ours until `settle`."""

    def take_held(self, *, limit: int) -> list[Row]:
        """The same of held rows whose time has come."""

    def settle(self, *, published: Sequence[str], refused: Sequence[Refused]) -> None:
        """Delete and hold, in one transaction; rows that are not named wait again."""

    def lag(self) -> Lag:
        """Counts everything; costs what a full scan costs."""

    def wait(self, seconds: float, *, after: str | None) -> None:
        """Return when there may be new rows behind `after`, after this long at the latest."""

    def read(self) -> Iterator[Row]:
        """Every row, held or not, whoever has it; in batches, and without a lock."""

    def held(self, *, limit: int) -> list[Held]:
        """Held rows, the oldest first."""

    def retry_held(self, *, type: str | None) -> int:  # noqa: A002 - the field's word
        """Let them be tried again now, all or those of a type; returns how many."""

    def close(self) -> None:
        """Give everything back."""
