"""Every value that a database could refuse, or that could break a batch, comes back as it was or is refused."""

import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError, OperationalError
from tests.ledger.samples import (
    PROCESS,
    TOKEN,
    a_message,
    accepted,
    an_offer,
    claimed,
    count,
    deliver,
    put,
    row_of,
    state_of,
    waiting_offer,
)

from penstock.ledger.admission import Offer, admit
from penstock.ledger.claims import claim_due
from penstock.ledger.database import Session, is_bad_data
from penstock.ledger.dialects import BadValue
from penstock.ledger.dispatches import select_due
from penstock.ledger.settlement import Outcome, settle
from penstock.ledger.state import State
from penstock.ledger.tables import jobs as jobs_table
from penstock.schemas.message import BODY_BYTES_MAX, check_body

ESCAPES = r'"\" \\ \/ \b \f \n \r \t \u0000 \u001e \u001f \u2028 \ud83e\udd80 \uffff"'
PAYLOADS = {
    "empty": b"{}",
    "whitespace": b' \t\r\n{ "n" :\n\t1 }\r\n ',
    "every escape": f'{{"a": {ESCAPES}}}'.encode(),
    "characters of every plane": '{"é🦀\u2028\u0085\u007f\ue000\U0010ffff": "\U00020000"}'.encode(),
    "the same name twice": b'{"n":1,"n":2}',
    "numbers": b'{"n": [1e400, -0.0, 12345678901234567890123, 1E-7]}',
    "what looks like SQL": b'{"n": "\'; DROP TABLE jobs; -- %s %(x)s :input $1 \\\\x00 NULL {}"}',
    "one MiB": b'{"n":"' + b"x" * (BODY_BYTES_MAX - 8) + b'"}',
    "one MiB of crabs": b'{"n":"' + "🦀".encode() * ((BODY_BYTES_MAX - 8) // 4) + b'"}',
}


@pytest.mark.parametrize("name", PAYLOADS)
def test_a_payload_comes_back_byte_for_byte(session: Session, name: str) -> None:
    """Claimed, read back, dispatched, and claimed from the ledger: what was sent is what is run."""
    body = PAYLOADS[name]
    check_body(body)  # it may come from outside

    first = claimed(session, body=body)
    [again] = deliver(session, an_offer(body, id=first.id)).claims
    settle(session, [Outcome(first.id, TOKEN, State.AVAILABLE, counts=False)])
    [due] = select_due(session, queue="demo", limit=1)
    [straight] = claim_due(session, queues=["demo"], limit=1, token=TOKEN, process_id=PROCESS)

    assert row_of(session, first.id).payload == body
    assert {first.payload, again.payload, due.message.body, straight.payload} == {body}


def test_payloads_do_not_get_mixed_up_in_a_batch(session: Session) -> None:
    """Each job keeps its own."""
    offers = [waiting_offer(body) for body in PAYLOADS.values()]
    admit(session, offers)
    assert [row_of(session, it.message.id).payload for it in offers] == list(PAYLOADS.values())


def test_random_texts_come_back_or_are_refused_by_name(session: Session) -> None:
    """Whatever `Message` lets through by mistake must not shift the values of its neighbours."""
    draw = random.Random(20_260_101)
    alphabet = ["\x1f", "\x1e", "\x00", "\ud800", "", "a", ",", "{", "}", '"', "'", "\\", "NULL", "🦀", "\n", "\t", "%"]
    refused: list[BadValue] = []
    for _ in range(60):
        texts = ["".join(draw.choices(alphabet, k=draw.randrange(4))) for _ in range(draw.randrange(1, 5))]
        offers = [waiting_offer(tenant=text, app_id=draw.choice([None, "shop"])) for text in texts]
        try:
            admit(session, offers)
        except BadValue as error:
            refused.append(error)
            assert {state_of(session, it.message.id) for it in offers} == {"unseen"}
        else:
            assert [row_of(session, it.message.id).tenant for it in offers] == texts
    assert 10 < len(refused) < 50
    assert {error.column for error in refused} == {"tenant"}
    assert all("'tenant'" in str(error) and is_bad_data(error) for error in refused)


@pytest.mark.parametrize("field", ["type", "key", "tenant", "correlation_id", "traceparent", "app_id"])
@pytest.mark.parametrize("text", ["\x00", "\x1f", "\x1e", "\ud800"])
def test_a_text_that_cannot_travel_is_refused_on_both(session: Session, field: str, text: str) -> None:
    """The error names the column; the neighbours can be sent without it."""
    hostile: dict[str, Any] = {field: text}
    guilty, innocent = waiting_offer(**hostile), waiting_offer()
    column = "dedup_key" if field == "key" else field
    with pytest.raises(BadValue, match=f"column '(key|{column})'") as caught:
        admit(session, [guilty, innocent])
    assert is_bad_data(caught.value)
    assert count(session, jobs_table) == 0
    admit(session, [innocent])


@pytest.mark.parametrize("body", [b'{"n":"\x1f"}', b'{"n":"\x1e"}', b'{"n":"\x00"}', b'{"n":"\xff"}', b"\x1e"])
def test_a_body_that_is_no_json_cannot_break_its_batch(session: Session, body: bytes) -> None:
    """It would come out as somebody else's payload."""
    with pytest.raises(BadValue, match="'payload'"):
        admit(session, [waiting_offer(), waiting_offer(body), waiting_offer()])
    assert count(session, jobs_table) == 0


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), float("-inf")])
def test_a_delay_that_is_no_number_is_refused(session: Session, seconds: float) -> None:
    """SQLite would take it for none, and run the job at once, again and again."""
    job_id = claimed(session).id
    with pytest.raises(BadValue, match="'delay_seconds'"):
        settle(session, [Outcome(job_id, TOKEN, State.RETRYABLE, delay_seconds=seconds)])
    with pytest.raises(BadValue, match="'delay_seconds'"):
        admit(session, [waiting_offer(delay_seconds=seconds)])
    assert state_of(session, job_id) == "executing"


@pytest.mark.parametrize("seconds", [1e-9, 1e-5, 0.5, 1e6, 1e9])
def test_small_and_large_delays_are_what_they_say(session: Session, seconds: float) -> None:
    """Up to the next generation."""
    job_id = claimed(session).id
    before = datetime.now(UTC)
    settle(session, [Outcome(job_id, TOKEN, State.RETRYABLE, delay_seconds=seconds)])
    waits = (row_of(session, job_id).due_at - before).total_seconds()
    assert abs(waits - seconds) < 60


@pytest.mark.parametrize("due_at", [datetime.min, datetime.max, datetime(1969, 12, 31, 23, 59, 59)])  # noqa: DTZ001, DTZ901
def test_times_at_the_ends_of_the_calendar_come_back(session: Session, due_at: datetime) -> None:
    """A publisher may say year 1 or year 9999; a row that cannot be read would stop its queue."""
    due = due_at.replace(tzinfo=UTC)
    offer = an_offer(due_at=due)
    admission = deliver(session, offer)
    assert len(admission.claims) == (due.year < 2000)
    kept = row_of(session, offer.message.id).due_at
    assert abs(kept - due) < timedelta(milliseconds=1)
    if admission.claims:
        [again] = deliver(session, offer).claims
        assert again.due_at == kept


def test_optional_columns_of_a_single_row_stay_null(session: Session) -> None:
    """A column without any value is bound as NULL, not as an empty text."""
    row = row_of(session, claimed(session).id)
    assert (row.dedup_key, row.tenant, row.correlation_id, row.traceparent, row.app_id, row.reason) == (None,) * 6
    assert (row.result, row.error, row.fingerprint, row.dispatched_at, row.cancel_requested_at) == (None,) * 5


def test_a_large_batch_lands_as_a_whole(session: Session) -> None:
    """A thousand rows with all columns filled."""
    offers = [waiting_offer(json.dumps({"n": n}).encode(), key=f"k{n}", tenant=f"t{n}") for n in range(1000)]
    admit(session, offers)
    rows = {row.id: row for row in session.connection.execute(jobs_table.select())}
    for offer in offers:
        row = rows[offer.message.id]
        assert (row.payload, row.dedup_key, row.tenant) == (offer.message.body, offer.message.key, offer.message.tenant)


def test_a_batch_that_the_database_refuses_names_no_payload(session: Session) -> None:
    """An error ends in logs; a payload must not."""
    broken = Offer(a_message(b'{"card":"4111111111111111"}', version=None), "demo", State.AVAILABLE)
    with pytest.raises(DBAPIError) as caught:
        admit(session, [broken, waiting_offer()])
    assert is_bad_data(caught.value)
    assert "4111" not in str(caught.value)
    assert b"4111".hex() not in str(caught.value)
    assert accepted(session)


def test_only_a_refused_value_counts_as_bad_data(session: Session) -> None:
    """A batch is taken apart when somebody in it is guilty, not when the database is ill."""
    existing = put(session)
    with pytest.raises(DBAPIError) as twice:
        put(session, id=existing)
    assert is_bad_data(twice.value)
    with pytest.raises(DBAPIError) as wrong:
        session.connection.exec_driver_sql("SELECT nonsense FROM nowhere")
    assert not is_bad_data(wrong.value)
    assert not is_bad_data(OperationalError("", None, Exception()))
    assert not is_bad_data(ValueError())


def test_the_values_of_a_row_all_come_back_in_a_claim(session: Session) -> None:
    """At the limits of the wire format."""
    fields: dict[str, Any] = {
        "type": "t" * 120,
        "version": 2**31 - 1,
        "key": "🦀" * 255,
        "tenant": "é" * 255,
        "correlation_id": "'" * 255,
        "traceparent": "\\" * 255,
        "app_id": '"' * 255,
    }
    offer = an_offer(**fields)
    [claim] = deliver(session, offer).claims
    [again] = deliver(session, offer).claims
    for it in (claim, again):
        assert (it.type, it.version, it.key) == (fields["type"], fields["version"], fields["key"])
        assert (it.tenant, it.correlation_id) == (fields["tenant"], fields["correlation_id"])
        assert it.traceparent == fields["traceparent"]
    settle(session, [Outcome(claim.id, TOKEN, State.AVAILABLE, counts=False)])
    [due] = select_due(session, queue="demo", limit=1)
    assert due.message == offer.message
