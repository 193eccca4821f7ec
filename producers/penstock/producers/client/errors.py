"""What can go wrong when a job is published. Each error says what to do about it."""


class PublishError(Exception):
    """A job has no receipt.

    `outcome_unknown` is True when RabbitMQ may have taken the job all the same. Publishing again with the
    same key (or the same `job_id`) is always safe: the claim absorbs the second one.
    """

    outcome_unknown: bool = False

    def __init__(self, text: str, *, job_id: str | None = None, outcome_unknown: bool | None = None) -> None:
        self.job_id = job_id
        if outcome_unknown is not None:
            self.outcome_unknown = outcome_unknown
        super().__init__(text if job_id is None else f"job {job_id}: {text}")


class InvalidJob(PublishError, ValueError):
    """The job breaks the wire format (too large, too deep, a naive `due_at`, …); nothing was sent."""


class KeyConflict(PublishError):
    """The key belongs to another job with another payload. This one is recorded as dead, to be seen, and never runs.

    Only the ledger knows it at once; behind RabbitMQ it is found out by the worker that gets the job.
    """


class ProducerClosed(PublishError):
    """The producer was closed before this job was sent."""


class BrokerUnavailable(PublishError):
    """RabbitMQ cannot be reached, or it refuses us: user, password, virtual host or certificate."""


class BrokerBlocked(PublishError):
    """RabbitMQ takes no messages at the moment: a memory or disk alarm is on."""


class Unroutable(PublishError):
    """No queue is bound for this job type; RabbitMQ returned the message."""

    def __init__(self, text: str, *, job_type: str, job_id: str | None = None) -> None:
        self.job_type = job_type
        super().__init__(text, job_id=job_id)


class PublishRefused(PublishError):
    """RabbitMQ closed the channel because of this one message: not permitted, or larger than it allows."""


class PublishTimeout(PublishError):
    """No confirm came before the deadline."""
