"""The transactional outbox: a job is enqueued in the service's own transaction, and published when that has committed.

`enqueue` needs whatever library the connection is from and nothing else; `penstock relay` publishes the rows.
"""

from penstock.producers.outbox.ddl import DDL
from penstock.producers.outbox.enqueue import enqueue, enqueue_async, enqueue_many

__all__ = ["DDL", "enqueue", "enqueue_async", "enqueue_many"]
