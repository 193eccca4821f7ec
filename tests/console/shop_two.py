"""The next release of the shop, which breaks what waits: a field is newly required."""

from penstock.schemas import Job
from penstock.workers import Context, handler


class Ship(Job, type="shop.ship", queue="shop"):
    """Ships an order by somebody."""

    order: int
    carrier: str


@handler(Ship)
def ship(job: Ship, ctx: Context) -> None:
    """Nothing."""
