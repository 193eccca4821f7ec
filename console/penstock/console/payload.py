"""A payload on the command line."""

import sys
from datetime import datetime

from penstock.console.exits import bad_input
from penstock.schemas import Message, UnreadableMessage

# Where on the command line each part of a message stands.
WORDS = {"type": "TYPE:", "body": "JSON:", "dedup-key": "--key:", "version": "--version:"}


def read_payload(text: str) -> bytes:
    """The bytes of an argument; `-` reads stdin."""
    return (sys.stdin.read() if text == "-" else text).encode("utf-8", "surrogateescape")


def raw_message(
    *,
    type: str,  # noqa: A002 - the field's word
    body: bytes,
    version: int,
    key: str | None = None,
    due_at: datetime | None = None,
) -> Message:
    """The message as the wire has it; what is wrong with it is said in the words of the command line."""
    try:
        return Message.raw(type=type, body=body, version=version, key=key, due_at=due_at)
    except UnreadableMessage as error:
        raise bad_input(f"{WORDS.get(error.part, '')} {error}".strip()) from None
