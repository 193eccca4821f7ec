"""The nemesis: faults on a running system, one after the other, drawn from a seed. Each heals what it has harmed."""

import contextlib
import os
import random
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from tests.faults.provider import Provider
from tests.faults.running_relay import RunningRelay
from tests.servers.postgres import PrivatePostgres
from tests.servers.proxy import Proxy
from tests.servers.rabbitmq import PrivateRabbitMQ
from tests.workers.pool import RunningPool

from penstock.ledger.database import Ledger, LedgerUnavailable

# Long enough for heartbeats to lapse now and then, short enough for many faults in a run.
HOLD_SECONDS = (0.5, 6.0)
RESCUE_SECONDS = (18.0, 24.0)

TERMINATE = text(
    """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE application_name LIKE 'penstock-%' AND random() < 0.4
    """
)
SOME = text(
    """
    SELECT pid FROM pg_stat_activity
    WHERE application_name LIKE 'penstock-%' AND pid <> pg_backend_pid() AND random() < 0.3
    """
)


@dataclass(kw_only=True)
class Victim:
    """All that can be harmed. Pools and the relay reach both servers through proxies, the load goes there directly."""

    pools: list[RunningPool]
    relay: RunningRelay
    postgres: PrivatePostgres
    rabbitmq: PrivateRabbitMQ
    to_postgres: Proxy
    to_rabbitmq: Proxy
    provider: Provider
    ledger: Ledger
    outbox_url: str
    draw: random.Random
    over: threading.Event = field(default_factory=threading.Event)

    def hold(self, *, most: float = HOLD_SECONDS[1]) -> None:
        """Let the fault last."""
        self.over.wait(self.draw.uniform(HOLD_SECONDS[0], most))

    def proxy(self) -> Proxy:
        """One of the two ways."""
        return self.draw.choice([self.to_postgres, self.to_rabbitmq])


def kill_worker(victim: Victim) -> None:
    _signal(victim, "worker", signal.SIGKILL)


def kill_dispatcher(victim: Victim) -> None:
    _signal(victim, "dispatcher", signal.SIGKILL)


def pause_worker(victim: Victim) -> None:
    """SIGSTOP, every other time for so long that it is taken for dead, and its jobs are run by others."""
    pid = _signal(victim, "worker", signal.SIGSTOP)
    if pid is not None:
        victim.over.wait(victim.draw.uniform(*victim.draw.choice([HOLD_SECONDS, RESCUE_SECONDS])))
        _send(victim.pools[0], signal.SIGCONT, pid)


def kill_supervisor(victim: Victim) -> None:
    """Its children see the pipe close; the next one reads the board."""
    pool = victim.draw.choice(victim.pools)
    pool.signal(signal.SIGKILL)
    pool.wait()
    victim.hold(most=2.0)
    pool.start()


def restart_pool(victim: Victim) -> None:
    """A rolling deploy, of which this is one step."""
    pool = victim.draw.choice(victim.pools)
    pool.stop()
    pool.start()


def kill_relay(victim: Victim) -> None:
    """It may have published what it has not crossed out."""
    victim.relay.kill()
    victim.hold(most=2.0)
    victim.relay.start()


def kill_rabbitmq(victim: Victim) -> None:
    victim.rabbitmq.kill()
    victim.hold(most=2.0)
    victim.rabbitmq.start()


def close_connections(victim: Victim) -> None:
    victim.rabbitmq.ctl("close_all_connections", "the nemesis")


def raise_alarm(victim: Victim) -> None:
    """RabbitMQ takes nothing, for lack of memory or disk."""
    low, well = victim.draw.choice([MEMORY, DISK])
    victim.rabbitmq.ctl(*low)
    victim.hold()
    victim.rabbitmq.ctl(*well)


MEMORY = (("set_vm_memory_high_watermark", "0.00001"), ("set_vm_memory_high_watermark", "0.4"))
DISK = (("set_disk_free_limit", "10000GB"), ("set_disk_free_limit", "50MB"))


def stop_postgres(victim: Victim) -> None:
    """As `pg_ctl stop -m immediate` does."""
    victim.postgres.stop_immediately()
    victim.hold()
    victim.postgres.start()


def terminate_backends(victim: Victim) -> None:
    """Some of them, in the middle of whatever they do."""
    for _ in range(5):
        try:
            with victim.ledger.session() as session:
                session.connection.execute(TERMINATE)
        except (DBAPIError, LedgerUnavailable):
            return
        victim.over.wait(0.3)


def freeze_backends(victim: Victim) -> None:
    """Some of the server's processes stand still, perhaps with locks, and nothing of TCP can tell."""
    with victim.ledger.session() as session:
        pids = session.connection.execute(SOME).scalars().all()
    for pid in pids:
        _stop(pid, signal.SIGSTOP)
    victim.hold(most=15.0)
    for pid in pids:
        _stop(pid, signal.SIGCONT)


def lock_jobs(victim: Victim) -> None:
    """As VACUUM FULL does, sometimes for longer than anybody waits for a lock."""
    with contextlib.suppress(DBAPIError), victim.ledger.session() as session, session.transaction():
        session.connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
        session.connection.exec_driver_sql("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE")  # or not, if others are quicker
        victim.hold(most=12.0)


def reset(victim: Victim) -> None:
    victim.proxy().reset()


def silence(victim: Victim) -> None:
    """The connections of now fall silent: only heartbeats, keepalives and deadlines can tell."""
    proxy = victim.proxy()
    proxy.silence()
    victim.hold(most=15.0)
    proxy.heal()


def delay(victim: Victim) -> None:
    proxy = victim.proxy()
    proxy.to_client.delay_seconds = victim.draw.uniform(0.05, 0.4)
    victim.hold()
    proxy.heal()


def blackhole(victim: Victim) -> None:
    """One way: what is asked arrives, and the answers do not; or the other way round."""
    proxy = victim.proxy()
    victim.draw.choice([proxy.to_client, proxy.to_server]).is_blackholed = True
    victim.hold(most=15.0)
    proxy.heal()


def cut_short(victim: Victim) -> None:
    """In the middle of a frame or a row."""
    proxy = victim.proxy()
    victim.draw.choice([proxy.to_client, proxy.to_server]).bytes_left = victim.draw.randrange(1, 20_000)
    victim.hold(most=2.0)
    proxy.heal()


def cut_commits(victim: Victim) -> None:
    """COMMIT arrives, and its answer is lost with the connection: a few times."""
    for _ in range(4):
        victim.to_postgres.to_server.last_words = b"COMMIT"
        victim.over.wait(0.6)
    victim.to_postgres.heal()


def half_close(victim: Victim) -> None:
    victim.proxy().half_close()


def refuse(victim: Victim) -> None:
    """Nobody gets a connection, and those that there are end."""
    proxy = victim.proxy()
    proxy.is_refusing = True
    proxy.reset()
    victim.hold()
    proxy.heal()


def blink(victim: Victim) -> None:
    """The same for a moment: shorter than anybody's patience, and again before all have come back."""
    proxy = victim.proxy()
    for _ in range(3):
        proxy.is_refusing = True
        proxy.reset()
        victim.over.wait(0.2)
        proxy.heal()
        victim.over.wait(victim.draw.uniform(0.1, 0.5))


def trouble_provider(victim: Victim) -> None:
    """It refuses, fails, or takes the effect and hangs up."""
    victim.provider.be(victim.draw.choice(["429", "500", "hang up"]))
    victim.hold(most=4.0)
    victim.provider.be("well")


FAULTS: tuple[Callable[[Victim], None], ...] = (
    kill_worker,
    kill_dispatcher,
    pause_worker,
    kill_supervisor,
    restart_pool,
    kill_relay,
    kill_rabbitmq,
    close_connections,
    raise_alarm,
    stop_postgres,
    terminate_backends,
    freeze_backends,
    lock_jobs,
    reset,
    silence,
    delay,
    blackhole,
    cut_short,
    cut_commits,
    half_close,
    refuse,
    blink,
    trouble_provider,
)


def heal(victim: Victim) -> None:
    """Everything is well again, whatever state it was left in."""
    victim.postgres.start()
    victim.rabbitmq.start()
    for _, well in (MEMORY, DISK):
        victim.rabbitmq.ctl(*well)
    victim.to_postgres.heal()
    victim.to_rabbitmq.heal()
    victim.provider.be("well")
    for pool in victim.pools:
        if not pool.is_running:
            pool.start()
    victim.relay.start()


def _signal(victim: Victim, kind: str, number: signal.Signals) -> int | None:
    """Send it to a child of this kind, if there is one at this moment."""
    pool = victim.draw.choice(victim.pools)
    try:
        pids = sorted(pid for pid, its in pool.children().items() if its == kind)
    except (ValueError, OSError):  # no board, or two: the pool is just starting
        return None
    if not pids:
        return None
    pid = victim.draw.choice(pids)
    return pid if _send(pool, number, pid) else None


def _stop(pid: int, number: signal.Signals) -> None:
    """A server's process may have ended meanwhile."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _send(pool: RunningPool, number: signal.Signals, pid: int) -> bool:
    try:
        pool.signal(number, pid)
    except ProcessLookupError:
        return False
    return True
