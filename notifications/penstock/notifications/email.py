"""The contract of an e-mail."""

import re
from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, StringConstraints

from penstock.notifications.address import check_address
from penstock.schemas import Backoff, Job

SUBJECT_LENGTH_MAX = 500
TEXT_LENGTH_MAX = 200_000
HTML_LENGTH_MAX = 400_000
# One try: connecting and talking, and the long wait for the answer to the mail itself (see `smtp.py`).
TIMEOUT_SECONDS = 300

_CONTROL = re.compile("[\x00-\x1f\x7f\x80-\x9f\u2028\u2029]")


def check_one_line(text: str) -> str:
    """A header is one line: what could end it, and begin another header, is refused."""
    if _CONTROL.search(text):
        raise ValueError("must be one line without control characters")
    return text


def check_text(text: str) -> str:
    if "\x00" in text:
        raise ValueError("must not hold NUL")
    return text


Address = Annotated[str, AfterValidator(check_address)]
Line = Annotated[str, StringConstraints(min_length=1, max_length=SUBJECT_LENGTH_MAX), AfterValidator(check_one_line)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=TEXT_LENGTH_MAX), AfterValidator(check_text)]
Html = Annotated[str, StringConstraints(min_length=1, max_length=HTML_LENGTH_MAX), AfterValidator(check_text)]


class SendEmail(
    Job,
    type="notifications.email",
    version=1,
    queue="notifications",
    max_attempts=12,
    retry=Backoff(base_seconds=5.0, cap_seconds=1800.0),
    timeout_seconds=TIMEOUT_SECONDS,
    unique_for=timedelta(days=7),
):
    """One mail to one recipient: a list could be delivered in part, so publish one job for each.

    The sender is the platform's own (`PENSTOCK_SMTP_SENDER`), never the payload's.
    """

    to: Address
    subject: Line
    text: Text
    html: Html | None = None
    reply_to: Address | None = None
