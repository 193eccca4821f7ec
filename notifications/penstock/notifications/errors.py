"""What can become of a mail that was not simply sent. No text names an address or repeats the server's words,
which may hold one; the reply codes say enough: RFC 5321 for `550`, RFC 3463 for `5.1.1`."""

from penstock.workers import Permanent


class MailRefused(Permanent):
    """The server will never take this mail (5xx). It surely was not sent."""


class MailDeferred(Exception):
    """Not now: the server said 4xx, or could not be reached. It surely was not sent."""


class MailServerMisconfigured(ValueError):
    """The settings do not describe a usable server; the text names the setting and the remedy."""


class MailOutcomeUnknown(Exception):
    """The connection was lost after the mail had been handed over, before the server answered.

    It may have been delivered. RFC 1047 describes this gap, which no SMTP client can close.
    """
