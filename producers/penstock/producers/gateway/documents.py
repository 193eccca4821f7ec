"""What the gateway answers, as the OpenAPI document describes it. `job_documents` and the routes fill it in."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from penstock.producers.gateway.submission import BATCH_JOBS_MAX, Submission

StateName = Literal["scheduled", "available", "executing", "retryable", "completed", "dead", "cancelled"]


class Document(BaseModel):
    """Documents have these fields and no others."""

    model_config = ConfigDict(extra="forbid")


class FieldError(Document):
    """What is wrong with one field."""

    field: str
    detail: str


class ProblemDocument(BaseModel):
    """RFC 9457: what is wrong, where, and what would be right."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldError] | None = None
    request_id: str | None = None


class Failure(Document):
    """A try that came to nothing."""

    attempt: int
    kind: str
    error_class: str | None
    message: str | None
    at: datetime


class JobDocument(Document):
    """How a job is. `waits_for` says in a sentence why it has not run, `result` is what its handler left."""

    id: str
    type: str
    version: int
    queue: str
    state: StateName
    reason: str | None
    attempts: int
    waits_for: str | None
    key: str | None
    tenant: str | None
    correlation_id: str | None
    created_at: datetime
    due_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    cancel_requested_at: datetime | None
    error: str | None


class WholeJob(JobDocument):
    """With its history."""

    result: Any
    failures: list[Failure]


class ReceiptDocument(Document):
    """The job was accepted. `durable` says where: `ledger` survives the loss of the broker, `broker` a quorum's.

    A duplicate is answered with the first one's id, and with how that one is.
    """

    id: str
    type: str
    key: str | None
    durable: Literal["ledger", "broker"]
    duplicate: bool
    job: WholeJob | None = None


class BatchItem(Document):
    """What became of one submission of a batch: a receipt, or a problem."""

    status: int
    receipt: ReceiptDocument | None = None
    problem: ProblemDocument | None = None


class BatchDocument(Document):
    """In the order of the submissions."""

    accepted: int
    refused: int
    results: list[BatchItem]


class BatchSubmission(Document):
    """Up to a thousand jobs, accepted or refused one by one."""

    # Whatever is no submission is refused for itself, beside those that are.
    jobs: Annotated[list[Submission | Any], Field(min_length=1, max_length=BATCH_JOBS_MAX)]


class JobList(Document):
    """The newest first. `next_cursor` goes on from here; null: there are no more."""

    jobs: list[JobDocument]
    next_cursor: str | None


class Cancellation(Document):
    """`cancelled`: it will not run. `requested`: it runs, and is cancelled as soon as it ends without success."""

    id: str
    outcome: Literal["cancelled", "requested"]


class VersionDocument(Document):
    """One version of a type: its options, and the JSON Schema of its payload."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    version: int
    queue: str
    max_attempts: int
    timeout_seconds: float
    guarantee: Literal["at_least_once", "at_most_once"]
    unique_for_seconds: float
    payload_schema: dict[str, Any]


class TypeDocument(Document):
    """A job type, its newest version last."""

    type: str
    versions: list[VersionDocument]


class TypeList(Document):
    """The types that these credentials may do something with."""

    types: list[TypeDocument]
