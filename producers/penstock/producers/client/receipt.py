"""The proof that a job was accepted, and where it is durable."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Durability = Literal["broker", "ledger"]


@dataclass(frozen=True, slots=True)
class Receipt:
    """A job was accepted: it will run.

    `durability` says what it survives: `broker` what the quorum of the queue survives, `ledger` the total
    loss of the broker too. `key` is the dedup key, which is the job id where none was given. `duplicate`: the job
    `job_id` was there before, and nothing runs besides; None for a broker's receipt: the claim will find out.
    """

    job_id: str
    key: str
    durability: Durability
    confirmed_at: datetime
    duplicate: bool | None = None
