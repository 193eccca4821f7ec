"""A release of a shop."""

from penstock.schemas import Job
from penstock.workers import Context, handler


class Ship(Job, type="shop.ship", queue="shop"):
    """Ships an order."""

    order: int


@handler(Ship)
def ship(job: Ship, ctx: Context) -> None:
    """Nothing."""
