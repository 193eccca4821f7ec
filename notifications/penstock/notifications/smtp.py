"""One mail over SMTP, step by step, so that each failure is of the right class.

Until the server has said 354 to DATA, nothing was sent, whatever goes wrong. After that only its answer to the whole
mail counts; when that is lost, nobody knows.
"""

import re
import smtplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.message import EmailMessage
from urllib.parse import urlsplit

from penstock.notifications.errors import MailDeferred, MailOutcomeUnknown, MailRefused, MailServerMisconfigured
from penstock.notifications.settings import NotificationSettings

DEFAULT_PORTS = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}
LOOPBACK = ("127.0.0.1", "::1", "localhost")
START_MAIL_INPUT = 354
_ENHANCED_STATUS = re.compile(rb"^([245]\.\d{1,3}\.\d{1,3})\b")
_LINE_START_DOT = re.compile(rb"(?m)^\.")


@dataclass(frozen=True, slots=True, kw_only=True)
class MailServer:
    """Where mail goes out. Raises `MailServerMisconfigured`."""

    scheme: str
    host: str
    port: int
    settings: NotificationSettings

    @classmethod
    def of(cls, settings: NotificationSettings) -> "MailServer":
        url = urlsplit(settings.smtp_url)
        if url.scheme not in DEFAULT_PORTS or not url.hostname or url.path not in ("", "/"):
            raise MailServerMisconfigured(
                "PENSTOCK_SMTP_URL must be smtp://host:port, smtp+starttls://host:port or smtps://host:port"
            )
        if url.username or url.password:
            raise MailServerMisconfigured(
                "PENSTOCK_SMTP_URL must not hold a password: use PENSTOCK_SMTP_USER and PENSTOCK_SMTP_PASSWORD"
            )
        if (settings.smtp_user is None) != (settings.smtp_password is None):
            raise MailServerMisconfigured("PENSTOCK_SMTP_USER and PENSTOCK_SMTP_PASSWORD belong together")
        if settings.smtp_user is not None and url.scheme == "smtp" and url.hostname not in LOOPBACK:
            raise MailServerMisconfigured(
                "a password is not sent in the clear: use smtp+starttls:// or smtps:// in PENSTOCK_SMTP_URL"
            )
        return cls(scheme=url.scheme, host=url.hostname, port=url.port or DEFAULT_PORTS[url.scheme], settings=settings)

    def send(self, message: EmailMessage, *, sender: str, recipient: str) -> None:
        """Returns once the server has taken the mail.

        Raises `MailDeferred` or `MailRefused` when it surely was not sent, `MailOutcomeUnknown` when nobody knows.
        """
        content = _LINE_START_DOT.sub(b"..", message.as_bytes())
        with _definite("connecting"):
            client = self._connect()
        try:
            with _definite("talking to the mail server"):
                self._introduce(client)
                _expect(client.mail(sender), "the sender", 250)
                _expect(client.rcpt(recipient), "the recipient", 250, 251)
                _expect(client.docmd("DATA"), "the mail", START_MAIL_INPUT)
            _expect(self._hand_over(client, content), "the mail", 250)
            with suppress(OSError, smtplib.SMTPException):
                client.quit()
        finally:
            client.close()

    def _connect(self) -> smtplib.SMTP:
        timeout = self.settings.smtp_timeout_seconds
        if self.scheme == "smtps":
            return smtplib.SMTP_SSL(self.host, self.port, timeout=timeout, context=self._tls())
        return smtplib.SMTP(self.host, self.port, timeout=timeout)

    def _introduce(self, client: smtplib.SMTP) -> None:
        client.ehlo_or_helo_if_needed()
        if self.scheme == "smtp+starttls":
            client.starttls(context=self._tls())
            client.ehlo_or_helo_if_needed()
        user, password = self.settings.smtp_user, self.settings.smtp_password
        if user is not None and password is not None:
            client.login(user, password.get_secret_value())

    def _hand_over(self, client: smtplib.SMTP, content: bytes) -> tuple[int, bytes]:
        """From here on the server may have the mail."""
        ending = b".\r\n" if content.endswith(b"\r\n") else b"\r\n.\r\n"
        try:
            if client.sock is not None:
                client.sock.settimeout(self.settings.smtp_reply_seconds)
            client.send(content + ending)
            return client.getreply()
        except (OSError, smtplib.SMTPException) as error:
            raise MailOutcomeUnknown(
                f"the connection was lost after DATA, before the server's answer ({type(error).__name__})"
            ) from None

    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if self.settings.smtp_ca_file is not None:
            context.load_verify_locations(self.settings.smtp_ca_file)
        return context


def _expect(reply: tuple[int, bytes], what: str, *accepted: int) -> None:
    """Sort a reply by its first digit: 5 is for good, anything else is for now."""
    code, text = reply
    if code in accepted:
        return
    status = _ENHANCED_STATUS.match(text)
    shown = f"{code} {status[1].decode()}" if status else str(code)
    if 500 <= code <= 599:
        raise MailRefused(f"the server refused {what}: {shown}")
    raise MailDeferred(f"the server deferred {what}: {shown}")


@contextmanager
def _definite(doing: str) -> Iterator[None]:
    """Whatever goes wrong in here, the mail was surely not sent."""
    try:
        yield
    except smtplib.SMTPResponseException as error:
        # Greeting, EHLO, STARTTLS or login: about us, not about the mail, and curable without touching the job.
        raise MailDeferred(f"{doing}: {type(error).__name__} {error.smtp_code}") from None
    except (OSError, smtplib.SMTPException) as error:
        raise MailDeferred(f"{doing}: {type(error).__name__}") from None
