"""The next release of `jobs`: a new version of one type beside the old one, and a type that is new."""

from tests.faults.jobs import INSERT, Transfer, transfer

from penstock.schemas import Job
from penstock.workers import Context, handler


class Transfer2(Job, type="faults.transfer", version=2, queue="faults"):
    """What was `n` is called `number` now."""

    number: int


class Refund(Job, type="faults.refund", queue="faults"):
    """Nobody knew of refunds before."""

    n: int


@handler(Transfer2)
def transfer_number(job: Transfer2, ctx: Context) -> None:
    """One row, as before."""
    with ctx.transaction() as connection:
        connection.execute(INSERT, {"name": ctx.key or ctx.job_id})


@handler(Refund)
def refund(job: Refund, ctx: Context) -> None:
    """One row."""
    with ctx.transaction() as connection:
        connection.execute(INSERT, {"name": ctx.key or ctx.job_id})


__all__ = ["Refund", "Transfer", "Transfer2", "transfer"]
