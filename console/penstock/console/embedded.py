"""The ledger of a process that runs jobs: it must have its schema; an embedded one makes it by itself."""

import typer

from penstock.console.schema import bring_up_to_date
from penstock.ledger.database import Ledger
from penstock.ledger.revision import check_schema


def say_embedded(ledger: Ledger) -> None:
    """One line for whoever starts a process on an SQLite ledger."""
    if ledger.dialect.name == "sqlite":
        typer.echo(
            f"embedded mode: the ledger is the file {ledger.url.database}; it is durable, and for one host only",
            err=True,
        )


def prepared(url: str) -> Ledger:
    """The ledger at `url`, ready to be used; raises `SchemaUnfit`, `LedgerUnavailable`."""
    ledger = Ledger(url)
    if ledger.dialect.name == "sqlite":
        bring_up_to_date(ledger)
        return ledger
    with ledger.session() as session:
        check_schema(session)
    return ledger
