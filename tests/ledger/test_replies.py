"""What is owed to publishers who gave an address, on each kind of database."""

from datetime import timedelta

from sqlalchemy import update
from tests.ledger.samples import an_offer, claimed, deliver, put

from penstock.ledger.clock import later
from penstock.ledger.database import Session
from penstock.ledger.replies import owed_replies, receipts_sent, replies_done, replies_lag
from penstock.ledger.tables import jobs, replies

QUEUE = "penstock.replies.shop"
HOUR = timedelta(hours=1).total_seconds()


def asked(session: Session, queue: str = QUEUE) -> str:
    """The id of a job that runs, whose publisher wants to hear of it."""
    return claimed(session, reply_to=queue).id


def age(session: Session) -> float:
    """Let everything that is owed be owed for an hour longer; returns for how long the oldest could have been said."""
    session.connection.execute(update(replies).values(created_at=later(session.dialect, -HOUR)))
    return replies_lag(session)[1]


def test_what_can_be_said_now_is_counted_with_its_age(session: Session) -> None:
    """A receipt since it is owed; a result not while its job runs, and then since the job has ended."""
    assert replies_lag(session) == (0, 0.0)
    job_id = asked(session)
    assert replies_lag(session)[0] == 1
    assert HOUR <= age(session) < HOUR + 60
    receipts_sent(session, owed_replies(session, limit=10))
    assert replies_lag(session) == (0, 0.0)
    ended = {"state": "completed", "finished_at": later(session.dialect, -HOUR / 2)}
    session.connection.execute(update(jobs).where(jobs.c.id == job_id).values(ended))
    count, seconds = replies_lag(session)
    assert (count, HOUR / 2 <= seconds < HOUR / 2 + 60) == (1, True)
    replies_done(session, owed_replies(session, limit=10))
    assert replies_lag(session) == (0, 0.0)


def test_who_asks_once_more_has_not_waited_since_the_first_time(session: Session) -> None:
    """The age is that of what is owed now."""
    offer = an_offer(reply_to=QUEUE)
    deliver(session, offer)
    receipts_sent(session, owed_replies(session, limit=10))
    age(session)
    deliver(session, offer)
    count, seconds = replies_lag(session)
    assert (count, seconds < 60) == (1, True)


def test_who_asks_once_more_while_he_is_answered_is_answered_once_more(session: Session) -> None:
    """What was said before is not what is owed since."""
    offer = an_offer(reply_to=QUEUE)
    for cross_out in (receipts_sent, replies_done):
        deliver(session, offer)
        age(session)
        said = owed_replies(session, limit=10)
        deliver(session, offer)
        cross_out(session, said)
        assert len(said) == len(owed_replies(session, limit=10)) == 1


def test_a_queue_can_be_left_out(session: Session) -> None:
    """What is owed to the others is found, however much is owed to it."""
    for _ in range(5):
        asked(session)
    other = asked(session, "penstock.replies.other")
    assert [it.id for it in owed_replies(session, limit=1, without=[QUEUE])] == [other]
    assert len(owed_replies(session, limit=10)) == 6


def test_the_longest_owed_come_first(session: Session) -> None:
    """And what has left the ledger can be crossed out."""
    first = asked(session)
    age(session)
    asked(session)
    session.connection.execute(update(replies).where(replies.c.id == first).values(job_id=put(session)))
    session.connection.execute(jobs.delete().where(jobs.c.id == first))
    assert [it.id for it in owed_replies(session, limit=1)] == [first]
