"""Contracts: what crosses a process border. No I/O here."""

from penstock.schemas.contract import Contract, Guarantee
from penstock.schemas.errors import ContractError, PayloadError, UnreadableMessage
from penstock.schemas.job import Job
from penstock.schemas.keyring import Keyring, KeyringError
from penstock.schemas.message import Message
from penstock.schemas.reply import ReceiptReply, ResultReply, read_reply
from penstock.schemas.retry import Backoff, Bury, Retry, RetryPolicy
from penstock.schemas.sensitive import Sensitive
from penstock.schemas.upcasting import Payload, upcaster
from penstock.schemas.version import __version__

__all__ = [
    "Backoff",
    "Bury",
    "Contract",
    "ContractError",
    "Guarantee",
    "Job",
    "Keyring",
    "KeyringError",
    "Message",
    "Payload",
    "PayloadError",
    "ReceiptReply",
    "ResultReply",
    "Retry",
    "RetryPolicy",
    "Sensitive",
    "UnreadableMessage",
    "__version__",
    "read_reply",
    "upcaster",
]
