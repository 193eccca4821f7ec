"""The outbox as a relay sees it, on either kind of database."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

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


def open_store(url: str) -> Store:
    """Connect to the outbox in the database at `url`: `postgresql://…` or `sqlite:///file`.

    Raises `ValueError` for another kind of URL, without it in the text, and `OutboxUnavailable`.
    """
    if check_url(url) == "sqlite":
        from penstock.producers.outbox.sqlite import SQLiteStore  # noqa: PLC0415 - a relay needs one of the two

        return SQLiteStore(_file_of(url))
    from penstock.producers.outbox.postgres import PostgresStore  # noqa: PLC0415

    return PostgresStore(_plain(url))


def create_outbox(url: str) -> bool:
    """Make an outbox in the database at `url`; False if there is one. Raises what `open_store` raises."""
    if check_url(url) == "sqlite":
        from penstock.producers.outbox import sqlite  # noqa: PLC0415

        return sqlite.create_outbox(_file_of(url))
    from penstock.producers.outbox import postgres  # noqa: PLC0415

    return postgres.create_outbox(_plain(url))


def check_url(url: str) -> str:
    """The kind of database; raises `ValueError` without the URL in it."""
    try:
        scheme = urlsplit(url).scheme.partition("+")[0]
    except ValueError:
        scheme = ""
    if scheme == "postgres":
        scheme = "postgresql"
    if scheme not in ("postgresql", "sqlite") or (scheme == "sqlite" and not url.partition(":///")[2]):
        raise ValueError(
            "this is no URL of an outbox: write postgresql://user:password@host/database or sqlite:///file"
        )
    return scheme


def _file_of(url: str) -> str:
    return url.partition(":///")[2]


def _plain(url: str) -> str:
    """Without a driver's name in it."""
    return f"postgresql{url[url.index(':') :]}"
