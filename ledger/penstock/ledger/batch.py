"""How much goes through one statement: jobs may be small and many, or a megabyte each."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

BATCH_JOBS_MAX = 500
# Payloads are copied several times on their way to the server; one that is larger than this goes alone.
BATCH_BYTES_MAX = 4 * 1024 * 1024


def in_batches(items: Iterable[tuple[T, int]]) -> Iterator[list[T]]:
    """Items that come with their size in bytes, in their order, in batches that are bounded both ways."""
    batch: list[T] = []
    total = 0
    for item, size in items:
        if batch and (len(batch) >= BATCH_JOBS_MAX or total + size > BATCH_BYTES_MAX):
            yield batch
            batch, total = [], 0
        batch.append(item)
        total += size
    if batch:
        yield batch


def within_bytes(rows: str) -> str:
    """Of `rows` (SQL for id, due_at and size), in the order of their due times, the ids that fit into a batch; the
    first one always does."""
    before = "SUM(size) OVER (ORDER BY due_at, id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)"
    return f"""
        SELECT id, due_at FROM (
            SELECT id, due_at, size, COALESCE({before}, 0) AS before FROM ({rows}) AS sized
        ) AS summed
        WHERE before = 0 OR before + size <= {BATCH_BYTES_MAX}
    """
