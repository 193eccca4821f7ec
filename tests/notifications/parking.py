"""Jobs of a user who would rather look than send twice; loaded by pools as `tests.notifications.parking`."""

from penstock.notifications import SendEmail
from penstock.notifications.handlers import deliver
from penstock.workers import Context, handler


@handler(SendEmail, unknown="park")
def send_or_park(job: SendEmail, ctx: Context) -> None:
    """The same mail under another policy."""
    deliver(job, ctx)
