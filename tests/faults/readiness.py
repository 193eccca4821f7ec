"""When a pool may be given work: a queue is there once its workers consume it."""

from tests.waiting import until
from tests.workers.pool import RunningPool


def consuming(pool: RunningPool) -> None:
    """Wait until all workers of the pool have proved to consume, and the dispatcher to pass."""
    until(lambda: pool.get("/readyz")[0] == 200, timeout_seconds=30, what="a pool that is ready")
