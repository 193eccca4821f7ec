"""Encryption and login, with a certificate that only these tests know."""

import ssl
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import AuthResult, LoginPassword
from tests.notifications.mailbox import Mailbox
from tests.one_worker import OneWorker

from penstock.notifications import SendEmail
from penstock.notifications.errors import MailServerMisconfigured
from penstock.notifications.settings import NotificationSettings
from penstock.notifications.smtp import MailServer

MAIL = SendEmail(to="ada@example.org", subject="s", text="t")
CERTIFICATE = Path(__file__).parent / "certificate.pem"
PASSWORD = "correct horse battery staple"


@pytest.mark.parametrize(("scheme", "option"), [("smtps", "ssl_context"), ("smtp+starttls", "tls_context")])
def test_a_mail_travels_encrypted(
    sqlite_worker: OneWorker, monkeypatch: pytest.MonkeyPatch, scheme: str, option: str
) -> None:
    """From the start, or after STARTTLS."""
    monkeypatch.setenv("PENSTOCK_SMTP_CA_FILE", str(CERTIFICATE))
    with Mailbox(**{option: server_side()}) as mailbox:
        monkeypatch.setenv("PENSTOCK_SMTP_URL", f"{scheme}://127.0.0.1:{mailbox.port}")
        assert sqlite_worker.run(MAIL)["state"] == "completed"
        assert len(mailbox.mails) == 1


def test_a_server_that_cannot_prove_its_name_gets_nothing(
    sqlite_worker: OneWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Certificates are always checked; the job waits until somebody has put that right."""
    with Mailbox(ssl_context=server_side()) as mailbox:
        monkeypatch.setenv("PENSTOCK_SMTP_URL", f"smtps://127.0.0.1:{mailbox.port}")
        shown = sqlite_worker.run(MAIL)
        assert (shown["state"], shown["error"]) == ("retryable", "MailDeferred: connecting: SSLCertVerificationError")
        assert mailbox.mails == []


def test_a_server_without_starttls_gets_nothing(sqlite_worker: OneWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for encryption does not get the clear instead."""
    with Mailbox() as mailbox:
        monkeypatch.setenv("PENSTOCK_SMTP_URL", f"smtp+starttls://127.0.0.1:{mailbox.port}")
        assert sqlite_worker.run(MAIL)["state"] == "retryable"
        assert mailbox.mails == []


@pytest.mark.parametrize(("password", "state"), [(PASSWORD, "completed"), ("wrong password", "retryable")])
def test_login_uses_the_settings(
    sqlite_worker: OneWorker,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    password: str,
    state: str,
) -> None:
    """A wrong password is not the mail's fault: the job waits, and the password is nowhere to be read."""
    monkeypatch.setenv("PENSTOCK_SMTP_CA_FILE", str(CERTIFICATE))
    with Mailbox(authenticator=authenticate, auth_required=True, tls_context=server_side()) as mailbox:
        monkeypatch.setenv("PENSTOCK_SMTP_URL", f"smtp+starttls://127.0.0.1:{mailbox.port}")
        monkeypatch.setenv("PENSTOCK_SMTP_USER", "jobs")
        monkeypatch.setenv("PENSTOCK_SMTP_PASSWORD", password)
        shown = sqlite_worker.run(MAIL)
        assert shown["state"] == state
        assert len(mailbox.mails) == (state == "completed")
    assert password not in "".join(capsys.readouterr()) + str(shown)


@pytest.mark.parametrize(
    ("settings", "remedy"),
    [
        ({"smtp_url": "http://mail.example.org"}, "must be smtp://host:port"),
        ({"smtp_url": "mail.example.org:25"}, "must be smtp://host:port"),
        ({"smtp_url": "smtp://jobs:secret@mail.example.org"}, "use PENSTOCK_SMTP_USER"),
        ({"smtp_user": "jobs"}, "belong together"),
        (
            {"smtp_url": "smtp://mail.example.org", "smtp_user": "jobs", "smtp_password": "secret"},
            "is not sent in the clear",
        ),
    ],
)
def test_settings_that_cannot_work_name_the_remedy(settings: dict[str, Any], remedy: str) -> None:
    """And never the password."""
    with pytest.raises(MailServerMisconfigured, match=remedy) as caught:
        MailServer.of(NotificationSettings(**settings))
    assert "secret" not in str(caught.value)


def server_side() -> ssl.SSLContext:
    """The server's end of an encrypted connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


def authenticate(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
    """The one user that the server knows."""
    known = isinstance(data, LoginPassword) and (data.login, data.password) == (b"jobs", PASSWORD.encode())
    return AuthResult(success=known, handled=False)
