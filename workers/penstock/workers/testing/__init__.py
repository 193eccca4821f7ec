"""For your own tests: a producer that only remembers, a worker without processes, faults to try handlers with."""

from penstock.workers.testing.faults import Fault
from penstock.workers.testing.inline_worker import InlineWorker
from penstock.workers.testing.published import FakeProducer, Published, assert_published

__all__ = ["FakeProducer", "Fault", "InlineWorker", "Published", "assert_published"]
