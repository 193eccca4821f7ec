"""`penstock migrate`."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs, so that `penstock --help` is quick

from penstock.console.options import Json


def migrate(as_json: Json = False) -> None:
    """Bring the ledger to this release's schema; safe to run at any time, and by many at once."""
    from penstock.console.printing import print_json, print_line
    from penstock.console.schema import bring_up_to_date
    from penstock.console.settings import ConsoleSettings
    from penstock.ledger.database import Ledger

    ledger = Ledger(ConsoleSettings().database_url)
    done = bring_up_to_date(ledger)
    if as_json:
        print_json({"ledger": str(ledger), "before": done.before, "after": done.after, "applied": done.applied})
    else:
        print_line(f"{ledger}: {done}")
