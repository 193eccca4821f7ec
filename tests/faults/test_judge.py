"""A judge that finds nothing wrong where something is proves nothing."""

import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert, text
from tests.faults.jobs import Post, Transfer
from tests.faults.judge import Verdict, balance, judge, unanswered
from tests.faults.ticks import ticks_between
from tests.faults.vitals import Vitals, connections_to
from tests.servers.proxy import Proxy
from tests.waiting import until

from penstock.ledger.admission import Offer, admit
from penstock.ledger.database import Ledger, Session
from penstock.ledger.state import State
from penstock.ledger.tables import aliases
from penstock.schemas import Message
from penstock.schemas.identifiers import new_job_id

TRANSFER, POST = Transfer.contract().type, Post.contract().type


def told(key: str, job_type: str, *events: str) -> list[dict[str, Any]]:
    """What the load has written down about one order."""
    return [{"event": "invoked", "key": key, "type": job_type}, *({"event": it, "key": key} for it in events)]


def verdict(*, rows: list[str], posts: list[tuple[str, str]]) -> Verdict:
    """Of a transfer and a post that were confirmed, and a transfer that was not."""
    history = [
        *told("a", TRANSFER, "unknown", "confirmed"),
        *told("b", POST, "confirmed"),
        *told("c", TRANSFER, "unknown"),
    ]
    return judge(history, rows=rows, posts=[{"job": job, "key": key} for job, key in posts], wrong=[])


def test_each_effect_once_is_clean_whether_or_not_the_unconfirmed_one_happened() -> None:
    """Nobody was told that it would."""
    for rows in (["a"], ["a", "c"]):
        assert verdict(rows=rows, posts=[("b", "k1")]).is_clean


def test_a_receipt_without_an_effect_is_lost() -> None:
    """In the ledger or outside."""
    assert verdict(rows=[], posts=[]).lost == ["a", "b"]


def test_two_rows_are_a_double_also_where_nothing_was_confirmed() -> None:
    """A transaction happens once or not at all."""
    assert verdict(rows=["a", "a", "c", "c"], posts=[("b", "k1")]).doubled == ["a", "c"]


def test_an_external_effect_again_under_its_key_is_counted_and_under_another_one_is_a_double() -> None:
    """The first is promised, the second would be two mails."""
    again = verdict(rows=["a"], posts=[("b", "k1"), ("b", "k1")])
    assert (again.is_clean, again.repeated) == (True, 1)
    assert verdict(rows=["a"], posts=[("b", "k1"), ("b", "k2")]).doubled == ["b"]


def test_an_effect_that_nobody_has_ordered_is_unexpected() -> None:
    """Whatever made it up."""
    assert verdict(rows=["a", "x"], posts=[("b", "k1"), ("y", "k")]).unexpected == ["x", "y"]


def test_a_tick_that_was_due_is_lost_without_an_effect_and_doubled_with_two() -> None:
    """One that came after the end of the load may be there or not."""
    noon = datetime(2026, 1, 1, 12, 0, 30, tzinfo=UTC)
    due, later = list(ticks_between(noon, noon + timedelta(seconds=90))), "faults.minute@2026-01-01T12:09:00Z"
    found = judge([], rows=[due[1], due[1], later], posts=[], wrong=[], ticks=due)
    assert due == ["faults.minute@2026-01-01T12:01:00Z", "faults.minute@2026-01-01T12:02:00Z"]
    assert (found.lost, found.doubled, found.unexpected) == (due[:1], due[1:], [])


def test_who_asked_must_hear_of_the_receipt_and_of_one_end() -> None:
    """As often as it likes."""
    history = [{"event": "confirmed", "key": it, "job_id": it, "way": "asking"} for it in ("a", "b", "c")]
    receipts = [{"asked_id": it, "kind": "receipt", "job_id": it, "state": "executing"} for it in ("a", "c")]
    ends = [{"asked_id": it, "kind": "result", "job_id": it, "state": "completed"} for it in ("a", "a", "b", "c")]
    wrong = unanswered(history, [*receipts, *ends, {**ends[3], "state": "dead"}])
    assert wrong == ["b has heard of no receipt", "c has heard of c completed, c dead"]


@pytest.fixture
def session(migrated_database_url: str) -> Iterator[Session]:
    """A ledger with no jobs."""
    with Ledger(migrated_database_url).session() as session:
        yield session


def test_the_books_balance_only_when_all_is_at_rest_and_no_attempt_too_many_was_used_up(session: Session) -> None:
    """A receipt by an alias is one too."""
    message, alias = Message.of(Transfer(n=1)), new_job_id()
    receipts = [{"event": "confirmed", "job_id": job_id} for job_id in (message.id, alias)]
    admit(session, [Offer(message, "faults", State.AVAILABLE)])
    [at_work, without_row, not_completed] = balance(session, receipts)
    assert "not at rest" in at_work
    assert without_row == f"job {alias} has a receipt and no row"
    assert "available" in not_completed
    session.connection.execute(insert(aliases).values(id=alias, job_id=message.id, created_at=text("now()")))
    complete = "UPDATE jobs SET state = 'completed', attempts = {}"
    session.connection.exec_driver_sql(complete.format(1))
    assert balance(session, receipts) == []
    session.connection.exec_driver_sql(complete.format(2))
    assert len(balance(session, receipts)) == 1


def test_vitals_that_rise_all_the_time_are_told() -> None:
    """And those that go up and down are not."""
    vitals = Vitals(victim=None)  # type: ignore[arg-type]
    vitals.seen = {"leaking": [10.0 + n for n in range(30)], "well": [30.0, 45.0, 38.0] * 10, "young": [1.0, 99.0]}
    assert vitals.grown() == ["leaking: 14 → 34"]


def test_clients_of_a_server_are_counted_by_the_kernel() -> None:
    """Whoever has hung up counts no more."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        with socket.create_connection(address), socket.create_connection(address):
            assert connections_to(address[1]) == 2
        until(lambda: connections_to(address[1]) == 0, what="both to be gone")


def test_a_proxy_carries_everything_until_it_is_deaf_one_way(database_url: str) -> None:
    """The question arrives, the answer does not, and the cure resets what has a gap in it."""
    with Proxy(database_url) as proxy, Ledger(proxy.url).session() as session:
        large = "SELECT repeat('x', 1000000)"
        assert len(session.connection.exec_driver_sql(large).scalar_one()) == 1_000_000
        assert proxy.to_client.carried > 1_000_000
        proxy.to_client.is_blackholed = True
        answers: list[Any] = []
        asking = threading.Thread(target=lambda: answers.append(_ask(session)))
        asking.start()
        until(lambda: any(carried.is_silent for carried in proxy._connections), what="the answer to be swallowed")
        assert answers == []
        proxy.heal()
        asking.join(timeout=10)
        assert answers == ["OperationalError"]


def _ask(session: Session) -> str:
    try:
        return str(session.connection.exec_driver_sql("SELECT 1").scalar())
    except Exception as error:
        return type(error).__name__
