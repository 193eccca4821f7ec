"""`enqueue` adds a job to the outbox, in a transaction of the caller's own."""

from collections.abc import Iterable
from typing import Any, Unpack

from penstock.producers.client import Publish, Publishable, PublishOptions
from penstock.producers.client.publish import as_publish
from penstock.producers.outbox.insertion import Insertion
from penstock.schemas import Job, Keyring, Message


def enqueue(
    connection: Any,
    job: Job,
    *,
    app_id: str | None = None,
    keyring: Keyring | None = None,
    **options: Unpack[PublishOptions],
) -> str:
    """Add one job to the outbox and return its id; the job is there if, and only if, the caller commits.

    `connection` is an SQLAlchemy `Connection` or `Session`, a psycopg `Connection` or `Cursor`, or one of `sqlite3`.
    The options are those of `Producer.publish`; `keyring` seals sensitive fields. Raises `InvalidJob`, and `TypeError`
    for a connection that is none of these or commits each statement by itself.
    """
    [added] = enqueue_many(connection, [Publish(job, **options)], app_id=app_id, keyring=keyring)
    return added


def enqueue_many(
    connection: Any, jobs: Iterable[Publishable], *, app_id: str | None = None, keyring: Keyring | None = None
) -> list[str]:
    """The same for jobs, `(job, key)` pairs or `Publish` items; returns their ids in the same order."""
    messages = _messages(jobs, app_id, keyring)
    if messages:
        Insertion.on(connection).run(messages)
    return [message.id for message in messages]


async def enqueue_async(
    connection: Any, *jobs: Publishable, app_id: str | None = None, keyring: Keyring | None = None
) -> list[str]:
    """The same for asyncio: an `AsyncConnection` or `AsyncSession` of SQLAlchemy, or psycopg's `AsyncConnection`."""
    messages = _messages(jobs, app_id, keyring)
    if messages:
        insertion = await Insertion.on_async(connection)
        await insertion.run_async(messages)
    return [message.id for message in messages]


def _messages(jobs: Iterable[Publishable], app_id: str | None, keyring: Keyring | None) -> list[Message]:
    return [as_publish(job).to_message(app_id=app_id, keyring=keyring) for job in jobs]
