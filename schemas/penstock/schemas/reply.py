"""What a publisher who gave a `reply_to` is told: the receipt of his job, and its result at the end."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from penstock.schemas.errors import UnreadableMessage


class ReceiptReply(BaseModel):
    """The ledger owns the job. `job_id` is the job that runs; for a duplicate it is another one than `asked_id`."""

    model_config = ConfigDict(frozen=True, title="Receipt")

    job_id: str
    asked_id: str
    duplicate: bool
    type: str
    durability: Literal["ledger"]
    state: str
    reason: str | None
    attempts: int


class ResultReply(ReceiptReply):
    """The job has ended: `state` is `completed`, `dead` or `cancelled`; `result` is what its handler has left."""

    model_config = ConfigDict(title="Result")

    finished_at: datetime | None
    result: Any


# By the AMQP property `type`.
REPLIES: dict[str, type[ReceiptReply]] = {"penstock.receipt": ReceiptReply, "penstock.result": ResultReply}


def read_reply(kind: str | None, body: bytes) -> ReceiptReply | ResultReply:
    """A reply by the `type` of its message; raises `UnreadableMessage`. Fields of later releases are left out."""
    model = REPLIES.get(kind or "")
    if model is None:
        raise UnreadableMessage("type", f"is no reply; those are {' and '.join(REPLIES)}")
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        fields = ", ".join(".".join(map(str, it["loc"])) or it["type"] for it in error.errors())
        raise UnreadableMessage("body", f"is no {kind}: {fields}") from None
