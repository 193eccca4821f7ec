"""One job to publish, with everything that `publish` can be told about it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypedDict

from penstock.producers.client.errors import InvalidJob, PublishError
from penstock.producers.client.receipt import Receipt
from penstock.schemas import Job, Keyring, KeyringError, Message, UnreadableMessage
from penstock.schemas.identifiers import new_job_id
from penstock.schemas.message import DIRECT_REPLY_TO


class PublishOptions(TypedDict, total=False):
    """What can be said about a job when it is published: the keyword arguments of `publish`; see `Publish`."""

    key: str | None
    due_at: datetime | None
    delay: timedelta | None
    job_id: str | None
    tenant: str | None
    correlation_id: str | None
    traceparent: str | None
    reply_to: str | None


@dataclass(frozen=True, slots=True)
class Publish:
    """A job with its options, for `publish_many`.

    `key` makes two publishes the same job; `due_at` (aware) or `delay` say when it may run; `job_id` is a
    UUIDv7, made here if not given. `reply_to` names a queue of the caller's, like `penstock.replies.billing`, where
    the receipt and the result come to, under `correlation_id`.
    """

    job: Job
    key: str | None = None
    due_at: datetime | None = None
    delay: timedelta | None = None
    job_id: str | None = None
    tenant: str | None = None
    correlation_id: str | None = None
    traceparent: str | None = None
    reply_to: str | None = None

    def to_message(self, *, app_id: str | None, keyring: Keyring | None = None) -> Message:
        """The message on the wire; raises `InvalidJob`."""
        if self.reply_to == DIRECT_REPLY_TO:
            raise InvalidJob(
                f"reply_to: {DIRECT_REPLY_TO} answers only on the channel that published, which is the producer's own: "
                "declare a queue, like penstock.replies.billing, and give its name",
                job_id=self.job_id,
            )
        try:
            return Message.of(
                self.job,
                key=self.key,
                due_at=self.due_at,
                delay=self.delay,
                job_id=self.job_id,
                tenant=self.tenant,
                correlation_id=self.correlation_id,
                traceparent=self.traceparent,
                reply_to=self.reply_to,
                app_id=app_id,
                keyring=keyring,
            )
        except (UnreadableMessage, KeyringError) as error:
            named = f"{self.job.contract().type}: " if isinstance(self.job, Job) else ""
            raise InvalidJob(f"{named}{error}", job_id=self.job_id) from error

    def under_id(self, job_id: str) -> "Publish":
        """The same, to be published again under the id that it had."""
        return replace(self, job_id=job_id)


Publishable = Job | Publish | tuple[Job, str]


def as_publish(item: Publishable) -> Publish:
    """A job, a `(job, key)` pair or a `Publish`, as a `Publish` that has an id."""
    if isinstance(item, Job):
        return Publish(item, job_id=new_job_id())
    if isinstance(item, tuple) and len(item) == 2:
        item = Publish(item[0], key=item[1])
    publish = item if isinstance(item, Publish) else Publish(item)  # which is refused when it becomes a message
    return publish if publish.job_id is not None else publish.under_id(new_job_id())


@dataclass(frozen=True, slots=True)
class PublishFailure:
    """One job of `publish_many` that has no receipt. `publish` can be given to `publish_many` again."""

    position: int
    publish: Publish
    error: PublishError


class PublishManyError(PublishError):
    """Some jobs of `publish_many` have no receipt.

    The first `taken` jobs were taken from the iterable: each is either in `receipts` (in their order) or
    in `failures`; the rest was not touched. `failures` of unknown outcome may have been accepted.
    """

    def __init__(self, *, receipts: list[Receipt], failures: list[PublishFailure], taken: int) -> None:
        self.receipts = receipts
        self.failures = failures
        self.taken = taken
        unknown = sum(failure.error.outcome_unknown for failure in failures)
        text = f"{len(receipts)} of the {taken} jobs that were taken are confirmed (.receipts)"
        if failures:
            text += (
                f", {len(failures)} are not (.failures; {unknown} of unknown outcome). "
                f"Publish [f.publish for f in error.failures] again: it is safe. First: {failures[0].error}"
            )
        else:
            text += "; the iterable itself failed (.__cause__)"
        super().__init__(text, outcome_unknown=unknown > 0)

    @property
    def again(self) -> Iterator[Publish]:
        """What has no receipt, ready for another `publish_many`, under the same ids."""
        return (failure.publish for failure in self.failures)
