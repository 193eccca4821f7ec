"""How to test handlers: run them inline, and let go wrong what goes wrong in production."""

import pytest
from examples.invoices import BookPayment, ChargeInvoice, charging

from penstock.workers.testing import FakeProducer, Fault, InlineWorker, assert_published


class Provider:
    """A payment provider that knows an idempotency key again, as real ones do."""

    def __init__(self) -> None:
        self.charged: dict[str, int] = {}
        self.calls = 0

    def charge(self, cents: int, key: str) -> None:
        """Take the money, unless it was taken under this key."""
        self.calls += 1
        self.charged.setdefault(key, cents)


@pytest.mark.parametrize(
    ("fault", "calls"),
    [(None, 1), (Fault.CRASH_AFTER_EFFECT, 2), (Fault.SETTLE_LOST, 1), (Fault.DUPLICATE_DELIVERY, 1)],
)
def test_an_invoice_is_charged_and_booked_once_whatever_happens(fault: Fault | None, calls: int) -> None:
    """After a crash the provider is called again under the same key; what the ledger knows is not done again."""
    provider = Provider()
    with InlineWorker(charging(provider.charge)) as worker:
        if fault is not None:
            worker.inject(fault)
        job_id = worker.publish(ChargeInvoice(number=7, cents=1200))
        worker.drain()
        assert worker.show(job_id)["state"] == "completed"
        assert_published(worker, BookPayment, times=1, key="invoice-7", number=7)
    assert list(provider.charged.values()) == [1200]
    assert provider.calls == calls


def test_a_service_publishes_what_it_should() -> None:
    """A fake producer goes where a `Producer` would."""
    producer = FakeProducer()
    producer.publish(ChargeInvoice(number=7, cents=1200), key="invoice-7")
    producer.publish(ChargeInvoice(number=7, cents=1200), key="invoice-7")
    assert_published(producer, ChargeInvoice, times=1, number=7)
