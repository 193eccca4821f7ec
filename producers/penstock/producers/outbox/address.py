"""Which outbox a URL means."""

from urllib.parse import urlsplit

from penstock.producers.outbox.store import Store


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
