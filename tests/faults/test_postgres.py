"""Postgres fails while jobs are accepted and run: F12 to F15."""

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.engine import make_url
from tests.faults.jobs import Transfer
from tests.faults.trial import Trial, trial
from tests.servers.postgres import PrivatePostgres
from tests.servers.virtual_hosts import OnlyTheOneGiven, VirtualHosts
from tests.waiting import until

from penstock.ledger.database import LedgerUnavailable
from penstock.ledger.migrations import migrate
from penstock.producers.ledger_producer import LedgerProducer

pytestmark = pytest.mark.faults

TERMINATE = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'penstock-%' AND random() < 0.4"
)

IDLE = """
    SELECT pid FROM pg_stat_activity
    WHERE application_name = 'penstock-engine' AND state = 'idle' AND datname = current_database()
"""


@pytest.fixture(scope="module")
def on_postgres(
    tmp_path_factory: pytest.TempPathFactory,
    postgres_of_session: PrivatePostgres,
    virtual_hosts: VirtualHosts | OnlyTheOneGiven,
) -> Iterator[Trial]:
    """A pool on a Postgres that may be harmed."""
    postgres_of_session.start()
    url = postgres_of_session.create_database()
    migrate(url)
    with trial(url, virtual_hosts.next_url(), tmp_path_factory.mktemp("postgres")) as its:
        yield its


def connected(url: str) -> psycopg.Connection:
    """As an administrator."""
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    return psycopg.connect(plain, autocommit=True)


@pytest.mark.parametrize("into", ["broker", "ledger"])
def test_nothing_is_lost_or_used_up_while_postgres_is_stopped_at_once(
    on_postgres: Trial, postgres_of_session: PrivatePostgres, into: str
) -> None:
    """Publishers that come over RabbitMQ notice nothing; those that ask the ledger hear that it is away."""
    url = on_postgres.site.database_url if into == "ledger" else None
    with on_postgres.under_load(f"F12, into the {into}", url=url):
        postgres_of_session.stop_immediately()
        until(lambda: on_postgres.pool.get("/healthz")[0] == 503, timeout_seconds=30, what="a true health check")
        postgres_of_session.start()


def test_nothing_is_lost_or_used_up_when_backends_are_ended_at_random(on_postgres: Trial) -> None:
    """In the middle of claims, settles, heartbeats and the transactions of handlers."""
    with on_postgres.under_load("F13") as load, connected(on_postgres.site.database_url) as connection:
        ends_at = time.monotonic() + 4.0
        while load.is_running and time.monotonic() < ends_at:
            connection.execute(TERMINATE)
            seen = len(load.lines)
            until(lambda seen=seen: len(load.lines) > seen + 20 or not load.is_running, what="some more work")  # type: ignore[misc]


def test_nobody_gets_a_false_receipt_while_all_connections_are_taken(on_postgres: Trial) -> None:
    """Who is connected goes on; who is not hears it, and nothing is half done."""
    url = on_postgres.site.database_url
    with on_postgres.under_load("F14"), contextlib.ExitStack() as idle:
        take_all_connections(url, idle)
        with pytest.raises(LedgerUnavailable, match="cannot connect to the ledger"):
            LedgerProducer(url).publish(Transfer(n=1), key="never accepted")
    assert "never accepted" not in on_postgres.site.effects()


def take_all_connections(url: str, idle: contextlib.ExitStack) -> None:
    """Whatever the workers do not hold already."""
    with contextlib.suppress(psycopg.OperationalError):
        while True:
            idle.enter_context(contextlib.closing(connected(url)))


def test_nothing_is_lost_or_used_up_while_the_table_of_jobs_is_locked(on_postgres: Trial) -> None:
    """As by VACUUM FULL, or by a migration that nobody has thought about: for longer than anybody waits for a lock."""
    pool, sink = on_postgres.pool, on_postgres.site.sink
    told = ("nothing is claimed until the ledger answers", "outcomes wait for the ledger")
    seen = {event: len(pool.logged(event)) for event in told}
    with on_postgres.under_load("table locked"):
        job_id = on_postgres.publish(Transfer(n=1, gate="locked"), key="begun before the lock")
        sink.await_events("waiting", job=job_id)
        with connected(on_postgres.site.database_url) as connection, connection.transaction():
            connection.execute("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE")
            sink.open_gate("locked")
            for event in told:
                until(lambda event=event: len(pool.logged(event)) > seen[event], timeout_seconds=30, what=event)  # type: ignore[misc]


def test_a_receipt_survives_a_server_on_which_commits_are_set_to_come_later(
    private_postgres: PrivatePostgres,
) -> None:
    """For somebody else's sake it may be so; a receipt of the ledger's is worth its name all the same."""
    url = private_postgres.create_database()
    migrate(url)
    with connected(url) as connection:
        connection.execute(f'ALTER DATABASE "{make_url(url).database}" SET synchronous_commit = off'.encode())
        connection.execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
        connection.execute("SELECT pg_reload_conf()")
    producer = LedgerProducer(url)
    receipts = []
    for n in range(3):
        receipts.append(producer.publish(Transfer(n=n)).job_id)
        private_postgres.stop_immediately()
        private_postgres.start()
    with connected(url) as connection:
        connection.execute("ALTER SYSTEM RESET wal_writer_delay")
        connection.execute("SELECT pg_reload_conf()")
        kept = {str(row[0]) for row in connection.execute("SELECT id FROM jobs")}
    assert kept == set(receipts)


def test_a_pool_goes_on_without_connections_behind_which_nobody_moves(
    private_postgres: PrivatePostgres, virtual_hosts: VirtualHosts | OnlyTheOneGiven, tmp_path: Path
) -> None:
    """The kernel answers for the server's process, so that no keepalive fails; nobody waits for it for ever."""
    url = private_postgres.create_database()
    migrate(url)
    constants = {"penstock.ledger.bounded_connection.ANSWER_SECONDS_MAX": 3.0}
    with (
        trial(url, virtual_hosts.next_url(), tmp_path, constants=constants) as its,
        its.under_load("frozen backends"),
        frozen_backends(url),
        connected(url) as connection,
    ):
        done = count_done(connection)
        until(lambda: count_done(connection) > done + 200, timeout_seconds=60, what="jobs that are done without them")


def count_done(connection: psycopg.Connection) -> int:
    """How many effects there are."""
    [(count,)] = connection.execute("SELECT count(*) FROM effects_of_tests")
    return int(count)


@contextlib.contextmanager
def frozen_backends(url: str) -> Iterator[None]:
    """Stop the server's processes behind all idle sessions of the engine; idle ones hold no lock."""
    with connected(url) as connection:
        rows = connection.execute(IDLE).fetchall()
    pids = [row[0] for row in rows]
    assert len(pids) >= 4
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def test_a_failover_that_loses_commits_loses_nothing_else(
    virtual_hosts: VirtualHosts | OnlyTheOneGiven, tmp_path: Path
) -> None:
    """What the standby knows, and what comes later, is done once; what workers hold of the rest is fenced."""
    with PrivatePostgres() as postgres:
        url = postgres.create_database()
        migrate(url)
        with trial(url, virtual_hosts.next_url(), tmp_path) as its:
            with its.load(its.site.broker_url) as load:
                its.await_more(load)
                postgres.remember()
                its.await_more(load)
                postgres.fall_back()
                with connected(url) as connection:
                    known = {str(row[0]) for row in connection.execute("SELECT key FROM dedup_keys")}
                lost_until = len(load.lines)
                its.await_more(load)
                load.finish()
            verdict = its.await_verdict(load)
        lines = load.lines
        before, after = ({line["key"] for line in some} for some in (lines[:lost_until], lines[lost_until:]))
        safe = known | (after - before)
        assert len(known) > 20
        assert len(after - before) > 20
        assert safe.isdisjoint([*verdict.lost, *verdict.doubled])
        assert not verdict.unexpected
        assert [line for line in verdict.wrong if "has a receipt and no row" not in line] == []


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of 160 MB, where any user may look."""
    folder = Path(tempfile.mkdtemp(prefix="penstock-disk-"))
    folder.chmod(0o755)
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    mounted = subprocess.run(
        [*sudo, "mount", "-t", "tmpfs", "-o", "size=160m,mode=777", "tmpfs", folder], check=False, capture_output=True
    )
    if mounted.returncode:
        folder.rmdir()
        pytest.skip(f"a small disk needs the right to mount one: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run([*sudo, "umount", "--lazy", folder], check=True)
    folder.rmdir()


def test_a_full_disk_gives_no_false_receipt_and_heals(
    small_disk: Path, tmp_path: Path, virtual_hosts: VirtualHosts | OnlyTheOneGiven
) -> None:
    """Postgres may even end itself over it; once there is room and it runs again, all goes on."""
    with PrivatePostgres(parent=small_disk) as postgres:
        url = postgres.create_database()
        migrate(url)
        ballast = small_disk / "ballast"
        with (
            trial(url, virtual_hosts.next_url(), tmp_path) as its,
            its.under_load("F15", url=url) as load,
        ):
            fill(ballast)
            until(lambda: any(it["event"] == "unknown" for it in load.lines), timeout_seconds=60, what="a refusal")
            ballast.unlink()
            until(lambda: revived(postgres, url), timeout_seconds=60, what="Postgres, which may be about to end itself")


def revived(postgres: PrivatePostgres, url: str) -> bool:
    """Start it if it has ended; whether it can be asked again."""
    postgres.start()
    try:
        connected(url).close()
    except psycopg.OperationalError:
        return False
    return True


def fill(ballast: Path) -> None:
    """Take every byte that is left."""
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 16))
