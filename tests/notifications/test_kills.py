"""A worker process is killed after the mail server has taken the mail, and before anybody could note that."""

import signal
from pathlib import Path
from typing import Any

import pytest
from tests.notifications.mailbox import Mailbox
from tests.waiting import until
from tests.workers.pool import RunningPool

from penstock.ledger.database import Ledger
from penstock.ledger.jobs import show_job
from penstock.notifications import SendEmail
from penstock.producers.ledger_producer import LedgerProducer

MAIL = SendEmail(to="ada@example.org", subject="s", text="t")
END_SECONDS_MAX = 30.0

pytestmark = pytest.mark.faults


def test_the_mail_goes_out_again_under_the_same_message_id(mailbox: Mailbox, ledger_url: str, tmp_path: Path) -> None:
    """Nobody can know that it had arrived; the recipient can."""
    shown = killed_while_sending(mailbox, ledger_url, tmp_path, module="penstock.notifications.handlers")
    assert shown["state"] == "completed"
    assert len(mailbox.message_ids) == 2
    assert len(set(mailbox.message_ids)) == 1
    assert [failure["kind"] for failure in shown["history"]] == ["crash"]


def test_the_job_is_parked_where_its_handler_says_so(mailbox: Mailbox, ledger_url: str, tmp_path: Path) -> None:
    """One mail, and a dead letter that asks a person."""
    shown = killed_while_sending(mailbox, ledger_url, tmp_path, module="tests.notifications.parking")
    assert (shown["state"], shown["reason"]) == ("dead", "outcome_unknown")
    assert len(mailbox.message_ids) == 1


def killed_while_sending(mailbox: Mailbox, url: str, folder: Path, *, module: str) -> dict[str, Any]:
    """Publish a mail, kill whoever sends it, and show what the job has come to in the end."""
    with RunningPool(database_url=url, folder=folder, modules=[module], threads=1) as pool:

        def kill() -> str:
            [pid] = pool.workers()
            pool.signal(signal.SIGKILL, pid)
            return "250 taken"

        mailbox.on_data = [kill]
        job_id = LedgerProducer(url).publish(MAIL).job_id
        with Ledger(url).session() as session:

            def ended() -> dict[str, Any] | None:
                shown = show_job(session, job_id)
                return shown if shown is not None and shown["finished_at"] is not None else None

            return until(ended, timeout_seconds=END_SECONDS_MAX, what="the end of the job") or {}
