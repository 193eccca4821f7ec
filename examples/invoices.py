"""A job with an effect outside and an effect in the database, to be tested in `test_invoices.py`."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import text

from penstock.schemas import Job
from penstock.workers import Context, handler

Charge = Callable[[int, str], None]


class ChargeInvoice(Job, type="examples.charge_invoice", queue="examples"):
    """Charges a customer once, and books it."""

    number: int
    cents: int


class BookPayment(Job, type="examples.book_payment", queue="examples"):
    """Follows a charge."""

    number: int


def charging(charge: Charge) -> tuple[Callable[..., Any], ...]:
    """The handlers; `charge(cents, idempotency_key)` calls the payment provider."""

    @handler(ChargeInvoice)
    def charge_invoice(job: ChargeInvoice, ctx: Context) -> None:
        with ctx.effect("charge") as effect:
            if effect.needed:
                charge(job.cents, effect.key)
        ctx.publish(BookPayment(number=job.number), key=f"invoice-{job.number}")

    @handler(BookPayment)
    def book_payment(job: BookPayment, ctx: Context) -> None:
        with ctx.transaction() as connection:
            connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS payments (number INTEGER)")
            connection.execute(text("INSERT INTO payments VALUES (:number)"), {"number": job.number})

    return charge_invoice, book_payment
