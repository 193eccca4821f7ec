"""The same release as it should be: another version and another name, and a way to them."""

from penstock.schemas import Job, Payload, upcaster
from penstock.workers import Context, handler


class Send(Job, type="shop.send", version=2, queue="shop", aliases=("shop.ship",)):
    """Sends an order by somebody."""

    order: int
    carrier: str


@upcaster(Send, from_version=1)
def by_post(payload: Payload) -> Payload:
    """There was only the post."""
    return payload | {"carrier": "post"}


@handler(Send)
def send(job: Send, ctx: Context) -> None:
    """Nothing."""
