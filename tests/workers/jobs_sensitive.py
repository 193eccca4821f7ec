"""Jobs that hold a secret, and do with it what careless handlers do."""

import hashlib
import os
from typing import Literal

from tests.workers.sink import note

from penstock.schemas import Backoff, Job, Sensitive
from penstock.workers import Context, Permanent, handler

AT_ONCE = Backoff(base_seconds=0.0)


class Charge(Job, type="test.charge", queue="test", max_attempts=2, retry=AT_ONCE, timeout_seconds=20):
    """Charges a card, or fails at it in some way."""

    name: str
    card: Sensitive[str]
    end: Literal["well", "fail", "bury", "crash", "publish"] = "well"


class Refund(Job, type="test.refund", queue="test"):
    """What follows a charge."""

    card: Sensitive[str]


@handler(Charge)
def charge(job: Charge, ctx: Context) -> None:
    """Prints, logs and quotes the whole job, as one does when something goes wrong."""
    card = job.card.reveal()
    note("charged", job=ctx.job_id, name=job.name, card=fingerprint(card))
    print(job)
    ctx.log.info("charging", charge=job, card=job.card, dumped=job.model_dump(mode="json"))
    if job.end == "fail":
        raise ValueError(f"the bank does not like {card}, {card[-3:]}")
    if job.end == "bury":
        raise Permanent(f"no bank knows {card!r}")
    if job.end == "crash":
        os._exit(7)
    if job.end == "publish":
        ctx.publish(Refund(card=job.card))


@handler(Refund)
def refund(job: Refund, ctx: Context) -> None:
    """Gets the same secret, sealed anew."""
    note("refunded", job=ctx.job_id, card=fingerprint(job.card.reveal()))


def fingerprint(card: str) -> str:
    """What a test may keep of a secret."""
    return hashlib.sha256(card.encode()).hexdigest()
