"""Those who claim straight from Postgres are told of rows that come to wait; nobody else pays for it."""

import threading
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import text
from tests.ledger.samples import PROCESS, TOKEN, accepted, claimed, put, undone, waiting_offer

from penstock.ledger import jobs, rescue
from penstock.ledger.admission import admit
from penstock.ledger.completion import complete_within
from penstock.ledger.database import Ledger, LedgerUnavailable, Session
from penstock.ledger.dead_letters import Selection, replay_dead
from penstock.ledger.settlement import Outcome, settle
from penstock.ledger.state import State
from penstock.ledger.transitions import Death
from penstock.ledger.wakeups import Wakeups

LONG_SECONDS = 5.0
SHORT_SECONDS = 0.3


class Listener:
    """Somebody who waits for jobs."""

    def __init__(self, session: Session, *, promises: bool = True) -> None:
        self.session = session
        self.wakeups = Wakeups(session, listener_id=PROCESS)
        if promises:
            assert self.wakeups.promise_to_listen()

    def is_told(self, *, within_seconds: float = SHORT_SECONDS) -> bool:
        """Whether something is announced; what was is forgotten."""
        return self.wakeups._receive(within_seconds, stop_after=1)


@pytest.fixture
def listening(postgres: Ledger) -> Iterator[Session]:
    """The session of a listener."""
    with postgres.session() as session:
        yield session


@pytest.fixture
def writing(postgres: Ledger) -> Iterator[Session]:
    """The session of somebody else."""
    with postgres.session() as session:
        yield session


def release(session: Session) -> None:
    settle(session, [Outcome(claimed(session).id, TOKEN, State.AVAILABLE, counts=False)])


def retry(session: Session) -> None:
    settle(session, [Outcome(claimed(session).id, TOKEN, State.RETRYABLE, delay_seconds=60)])


def follow_up(session: Session) -> None:
    settle(session, [Outcome(claimed(session).id, TOKEN, State.COMPLETED, follow_ups=(waiting_offer(),))])


def follow_up_of_transaction(session: Session) -> None:
    job_id = claimed(session).id
    with session.transaction():
        complete_within(session.connection, job_id=job_id, token=TOKEN, follow_ups=(waiting_offer(),))


def crash(session: Session) -> None:
    running = [claimed(session).id]
    rescue.rescue_crashed(session, process_id=PROCESS, running=running, death=Death.KILLED, alone=False, how="SIGKILL")


def interrupt(session: Session) -> None:
    claimed(session)
    rescue.rescue_interrupted(session, process_id=PROCESS, running=[])


def lose(session: Session) -> None:
    claimed(session)
    rescue.rescue_lost(session, process_id=PROCESS)


def replay(session: Session) -> None:
    replay_dead(session, selection=Selection(ids=(put(session, state="dead"),)), actor="ada")


def hurry(session: Session) -> None:
    jobs.hurry_job(session, put(session, state="retryable"), actor="ada")


WAYS: list[Callable[[Session], object]] = [
    accepted,
    release,
    retry,
    follow_up,
    follow_up_of_transaction,
    crash,
    interrupt,
    lose,
    replay,
    hurry,
]


@pytest.mark.parametrize("way", WAYS)
def test_whoever_listens_is_told_of_every_way_in_which_a_row_comes_to_wait(
    listening: Session, writing: Session, way: Callable[[Session], object]
) -> None:
    """Also when it is due later: who waits must know until when."""
    listener = Listener(listening)
    way(writing)
    assert listener.is_told(within_seconds=LONG_SECONDS)


def test_what_completes_is_not_announced(listening: Session, writing: Session) -> None:
    """Nobody has anything to do then."""
    listener = Listener(listening)
    settle(writing, [Outcome(claimed(writing).id, TOKEN, State.COMPLETED, result=b"1")])
    assert not listener.is_told()


def test_nothing_is_announced_before_it_is_committed(listening: Session, writing: Session) -> None:
    """Nor at all, if it never is."""
    listener = Listener(listening)
    with undone(writing):
        accepted(writing)
        assert not listener.is_told()
    assert not listener.is_told()


@pytest.mark.parametrize("why", ["nobody promised to listen", "the promise is over", "RabbitMQ brings the jobs"])
def test_nothing_is_announced_where_nobody_waits_for_it(
    listening: Session, writing: Session, postgres: Ledger, why: str
) -> None:
    """A commit that notifies holds a lock of the whole server."""
    listener = Listener(listening, promises=why != "nobody promised to listen")
    if why == "the promise is over":
        writing.connection.execute(text("UPDATE leases SET expires_at = now()"))
    if why == "RabbitMQ brings the jobs":
        with Ledger(str(postgres.url), announces=False).session() as quiet:
            follow_up_of_transaction(quiet)
            accepted(quiet)
    else:
        accepted(writing)
    assert not listener.is_told()


def test_a_promise_is_renewed_now_and_then(listening: Session) -> None:
    """Not at every turn; after each renewal one has to look once more."""
    listener = Listener(listening)
    assert not listener.wakeups.promise_to_listen()
    listener.wakeups._renewed_at -= 60
    assert listener.wakeups.promise_to_listen()


def test_what_was_announced_meanwhile_ends_the_wait_at_once(listening: Session, writing: Session) -> None:
    """Or is forgotten, when one is about to look anyway: it does not pile up."""
    listener = Listener(listening)
    for _ in range(20):
        accepted(writing)
    listening.connection.execute(text("SELECT 1"))
    listener.wakeups.wait(3600, stopping=threading.Event())
    for _ in range(20):
        accepted(writing)
    listening.connection.execute(text("SELECT 1"))
    listener.wakeups.forget()
    assert not listener.is_told()


def test_a_wait_ends_with_the_process_and_with_its_connection(listening: Session, writing: Session) -> None:
    """Whatever was promised."""
    listener, stopping = Listener(listening), threading.Event()
    stopping.set()
    listener.wakeups.wait(3600, stopping=stopping)
    pid = listening.connection.execute(text("SELECT pg_backend_pid()")).scalar()
    writing.connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
    with pytest.raises(LedgerUnavailable):
        listener.wakeups.wait(3600, stopping=threading.Event())
    listening.connection.invalidate()


def test_accepting_is_the_same_with_and_without_a_listener(listening: Session, writing: Session) -> None:
    """The whole batch commits, with its keys."""
    Listener(listening)
    offers = [waiting_offer(), waiting_offer(key="k")]
    admit(writing, offers)
    assert jobs.count_states(listening) == {"available": 2}
