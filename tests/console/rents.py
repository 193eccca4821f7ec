"""A module whose job has a secret, and comes by the clock."""

from datetime import datetime

from penstock.schemas import Job, Sensitive
from penstock.workers import Context, handler


class Charge(Job, type="demo.charge", queue="demo", guarantee="at_most_once"):
    """Has a secret, and wants to know when its tick was."""

    cents: int
    card: Sensitive[str]
    at: datetime


@handler(Charge)
def charge(job: Charge, ctx: Context) -> None:
    """What a handler does with a secret is its own business."""
    ctx.result = f"{job.cents} from a card of {len(job.card.reveal())} digits"
