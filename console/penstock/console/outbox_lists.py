"""An outbox, for people and for programs."""

from contextlib import closing
from datetime import UTC, datetime

from penstock.console.exits import problem
from penstock.console.printing import briefly, print_json, print_line, print_table
from penstock.console.relaying import checked_outbox_url, opened_outbox
from penstock.ledger.durations import span
from penstock.producers.outbox import address
from penstock.producers.outbox.store import Held, Lag

ID_WIDTH = 36


def create_outbox(database_url: str | None) -> None:
    """Make the table, and say whether it was there."""
    made = address.create_outbox(checked_outbox_url(database_url))
    print_line("the outbox is made" if made else "there is an outbox already")


def list_outbox(database_url: str | None, *, limit: int, as_json: bool) -> None:
    """The lag in a line, then a line for each row that is held."""
    with closing(opened_outbox(database_url)) as outbox:
        lag, held = outbox.lag(), outbox.held(limit=limit)
    if as_json:
        print_json({**lag._asdict(), "rows": [_document(row) for row in held]})
        return
    print_line(_told(lag))
    if held:
        now = datetime.now(UTC)
        rows = [(row.id, row.type, row.reason, str(row.tries), briefly(_time(row.retry_at), now)) for row in held]
        print_table(("id", "type", "reason", "tries", "again"), rows, keep=("tries", "again"), id_width=ID_WIDTH)


def retry_outbox(database_url: str | None, *, job_type: str | None, as_json: bool) -> None:
    """Let held rows go on."""
    with closing(opened_outbox(database_url)) as outbox:
        rows = outbox.retry_held(type=job_type)
    if as_json:
        print_json({"retried": rows})
    elif rows:
        print_line(f"{rows} held rows are tried again")
    if not rows:
        raise problem("no such row is held: see `penstock outbox list`")


def _told(lag: Lag) -> str:
    waiting = f"{lag.waiting} rows wait" + (f", the oldest for {span(lag.oldest_seconds)}" if lag.waiting else "")
    return f"{waiting}; {lag.held} are held"


def _document(row: Held) -> dict[str, object]:
    return {**row._asdict(), "created_at": _time(row.created_at), "retry_at": _time(row.retry_at)}


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)
