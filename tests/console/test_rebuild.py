"""`penstock rebuild`."""

from datetime import UTC, datetime

import pika
import pytest
from tests.console.command import HANDLERS, Command
from tests.ledger.samples import put, row_of

from penstock.ledger.audit import list_audit
from penstock.ledger.database import Session
from penstock.workers import topology


def test_a_lost_broker_is_made_again_from_ledger_and_handlers(
    penstock: Command, full: Session, broker_url: str
) -> None:
    """Queues and bindings exist, and what was on its way is dispatched again."""
    lost = [put(full, dispatched_at=datetime.now(UTC)) for _ in range(2)]
    put(full, type="demo.other", queue="other")
    put(full, type="demo.old", queue="old", state="completed", finished_at=datetime.now(UTC))
    answer = penstock("rebuild", "--jobs", HANDLERS, "--json")
    assert answer.code == 0
    document = answer.document
    assert document["queues"]["demo"] == ["demo.add", "demo.fail", "demo.job", "demo.once"]
    assert document["declared_anew"] == ["actors", "demo", "other", "slow"]
    assert document["dispatched_again"] == 2
    assert {row_of(full, job_id).dispatched_at for job_id in lost} == {None}
    assert set(topology.count_ready(broker_url, {"demo", "slow", "other"}, name="test").values()) == {0}
    assert [(row["actor"], row["action"]) for row in list_audit(full)] == [("ann", "rebuild")]
    penstock("publish", "demo.add", "{}")
    assert topology.count_ready(broker_url, {"demo"}, name="test") == {"demo": 1}


def test_people_read_what_was_declared(penstock: Command, full: Session) -> None:
    """And how many jobs are dispatched again."""
    put(full, dispatched_at=datetime.now(UTC))
    assert "declared anew" in penstock("rebuild").out
    again = penstock("rebuild").out
    assert "was there" in again
    assert "0 jobs on the way will be dispatched again" in again


def test_a_queue_with_other_arguments_is_a_problem(penstock: Command, full: Session, broker_url: str) -> None:
    """It is named and left as it is; the rest is done."""
    with pika.BlockingConnection(pika.URLParameters(broker_url)) as connection:
        connection.channel().queue_declare("demo", durable=True)
    put(full, dispatched_at=datetime.now(UTC))
    answer = penstock("rebuild", "--json")
    assert answer.code == 1
    assert "x-queue-type" in answer.document["refused"]["demo"]
    assert answer.document["dispatched_again"] == 1
    assert "problem: " in penstock("rebuild").out


@pytest.mark.usefixtures("session")
def test_without_a_broker_there_is_nothing_to_rebuild(penstock: Command) -> None:
    """Exit code 2."""
    answer = penstock("rebuild")
    assert answer.code == 2
    assert "PENSTOCK_BROKER_URL is local" in answer.error
