"""E-mails over a real SMTP server: sent once, refused, put off, or honestly unknown."""

from typing import Any

import pytest
from tests.notifications.mailbox import Mailbox, hanging_up, saying
from tests.notifications.parking import send_or_park
from tests.one_worker import OneWorker
from tests.servers.ports import free_port

from penstock.notifications import SendEmail
from penstock.notifications.handlers import deliver
from penstock.workers import Context, handler

MAIL = SendEmail(to="ada@example.org", subject="Grüße", text="Zeile\n.\nPunkt\n")


@handler(SendEmail)
def send_and_stumble(job: SendEmail, ctx: Context) -> None:
    """Sends, and fails afterwards in its first attempt."""
    deliver(job, ctx)
    if ctx.attempt == 1:
        raise RuntimeError("after the mail")


def test_a_mail_arrives_as_it_was_written(mailbox: Mailbox, worker: OneWorker) -> None:
    """Both parts, umlauts, and lines that consist of a dot."""
    job = SendEmail(
        to="ada@example.org",
        subject="Grüße",
        text="Zeile\n.\nPunkt\n",
        html="<p>ä</p>",
        reply_to="desk@example.org",
    )
    shown = worker.run(job)
    [mail] = mailbox.mails
    assert shown["state"] == "completed"
    assert (mail["To"], mail["From"], mail["Reply-To"]) == ("ada@example.org", "jobs@example.org", "desk@example.org")
    assert mail["Subject"] == "Grüße"
    assert text_of(mail, "plain") == "Zeile\n.\nPunkt\n"
    assert text_of(mail, "html") == "<p>ä</p>\n"


def test_the_result_names_the_message_id_that_the_receiver_saw(mailbox: Mailbox, worker: OneWorker) -> None:
    """So that support can find the mail of a job, and the job of a mail."""
    shown = worker.run(MAIL)
    [message_id] = mailbox.message_ids
    assert message_id == f"<{shown['id']}.send@example.org>"
    assert message_id.encode() in shown["result"]


def test_a_mail_is_sent_once_though_its_job_runs_twice(mailbox: Mailbox, ledger_url: str) -> None:
    """The second attempt finds on record that the mail has gone out."""
    with OneWorker(ledger_url, [send_and_stumble]) as worker:
        first = worker.run(MAIL)
        second = worker.retry(first["id"])
    assert (first["state"], second["state"]) == ("retryable", "completed")
    assert len(mailbox.mails) == 1


def test_a_lost_answer_sends_again_under_the_same_message_id(mailbox: Mailbox, worker: OneWorker) -> None:
    """The server had the mail and hung up: the recipient may get it twice, and can tell that it is one."""
    mailbox.on_data = [hanging_up]
    first = worker.run(MAIL)
    assert [step["state"] for step in first["effects"]] == ["intended"]
    assert first["history"][0]["error_class"] == "MailOutcomeUnknown"
    second = worker.retry(first["id"])
    assert second["state"] == "completed"
    assert len(mailbox.mails) == 2
    assert mailbox.mails[0].as_bytes() == mailbox.mails[1].as_bytes()


def test_a_lost_answer_parks_the_job_where_its_handler_says_so(mailbox: Mailbox, ledger_url: str) -> None:
    """A dead letter with the reason `outcome_unknown`, and no second mail."""
    mailbox.on_data = [hanging_up]
    with OneWorker(ledger_url, [send_or_park]) as worker:
        first = worker.run(MAIL)
        second = worker.retry(first["id"])
    assert (second["state"], second["reason"]) == ("dead", "outcome_unknown")
    assert len(mailbox.mails) == 1


def test_a_refused_recipient_is_dead_at_once(mailbox: Mailbox, worker: OneWorker) -> None:
    """No retry makes a mailbox exist; nothing is left open."""
    mailbox.on_recipient = [saying("550 5.1.1 no such mailbox: ada@example.org")]
    shown = worker.run(MAIL)
    assert (shown["state"], shown["reason"], shown["attempts"]) == ("dead", "permanent", 1)
    assert shown["error"] == "MailRefused: the server refused the recipient: 550 5.1.1"
    assert [step["state"] for step in shown["effects"]] == ["not_done"]


def test_a_refused_mail_is_dead_at_once(mailbox: Mailbox, worker: OneWorker) -> None:
    """The server has read it all and said no: that is an answer."""
    mailbox.on_data = [saying("554 5.7.1 looks like spam")]
    shown = worker.run(MAIL)
    assert (shown["state"], shown["reason"]) == ("dead", "permanent")
    assert [step["state"] for step in shown["effects"]] == ["not_done"]


def test_a_deferred_mail_is_tried_again_even_where_the_unknown_is_parked(mailbox: Mailbox, ledger_url: str) -> None:
    """4xx means surely not sent, so there is nothing unknown to park."""
    mailbox.on_recipient = [saying("451 4.7.1 come back later")]
    mailbox.on_data = [saying("452 4.2.2 mailbox full")]
    with OneWorker(ledger_url, [send_or_park]) as worker:
        first = worker.run(MAIL)
        second = worker.retry(first["id"])
        third = worker.retry(first["id"])
    assert [shown["state"] for shown in (first, second, third)] == ["retryable", "retryable", "completed"]
    assert first["error"] == "MailDeferred: the server deferred the recipient: 451 4.7.1"
    assert third["attempts"] == 3


def test_a_server_that_is_away_means_later(monkeypatch: pytest.MonkeyPatch, ledger_url: str) -> None:
    """Nobody answered, so nothing was sent; the job waits for its retry."""
    monkeypatch.setenv("PENSTOCK_SMTP_URL", f"smtp://127.0.0.1:{free_port()}")
    with OneWorker(ledger_url, [send_or_park]) as worker:
        shown = worker.run(MAIL)
    assert (shown["state"], shown["error"]) == ("retryable", "MailDeferred: connecting: ConnectionRefusedError")
    assert [step["state"] for step in shown["effects"]] == ["not_done"]


def test_the_same_key_sends_one_mail(mailbox: Mailbox, worker: OneWorker) -> None:
    """A producer that publishes twice for safety sends once."""
    assert worker.publish(MAIL, key="welcome-ada") == worker.publish(MAIL, key="welcome-ada")
    worker.run_all()
    assert len(mailbox.mails) == 1


def test_neither_address_nor_text_is_logged(
    mailbox: Mailbox, worker: OneWorker, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also not when the server repeats the address in its refusal."""
    mailbox.on_recipient = [saying("250 OK"), saying("550 5.1.1 <ADA@Example.org> unknown")]
    worker.run(MAIL)
    shown = worker.run(MAIL)
    printed = "".join(capsys.readouterr()) + str(shown["history"])
    assert "e-mail sent" in printed
    assert "attempt failed" in printed
    shown_text = printed.casefold().replace(".send@example.org>", "")
    for secret in ("ada@", "example.org", "Grüße", "Zeile"):
        assert secret.casefold() not in shown_text


def text_of(mail: Any, kind: str) -> str:
    """One part of a mail, with its line ends as Python writes them."""
    part = mail.get_body((kind,))
    return str(part.get_content()).replace("\r\n", "\n")
