"""`make chaos`: load, faults drawn from a seed, heal, drain, judge. Exits with 1 if anything is wrong.

python -m tests.faults.chaos SEED MINUTES [--result FILE]
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pika
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from tests.faults.judge import Verdict, balance, judge, unanswered
from tests.faults.load import Load
from tests.faults.nemesis import FAULTS, Victim, heal
from tests.faults.provider import VARIABLE, Provider
from tests.faults.running_relay import RunningRelay
from tests.faults.ticks import ticks_between
from tests.faults.vitals import Vitals
from tests.faults.ways import REPLIES
from tests.servers.postgres import PrivatePostgres
from tests.servers.proxy import Proxy
from tests.servers.rabbitmq import PrivateRabbitMQ
from tests.waiting import until
from tests.workers.pool import RunningPool
from tests.workers.sink import Sink

from penstock.ledger.database import Ledger
from penstock.ledger.migrations import migrate
from penstock.producers.outbox import DDL
from penstock.producers.schedules.declaring import declare
from penstock.workers import Registry

JOBS_PER_SECOND = 60.0
PAUSE_SECONDS = (1.0, 4.0)
# Also of a short run on a slow machine, where one of them can take half of it.
FAULTS_MIN = 4
# A message that went to a paused consumer comes back with its heartbeat, and then waits for a rescue.
DRAIN_SECONDS_MAX = 240.0
POOLS = ("red", "blue")
MODULES = ("tests.faults.jobs", "tests.faults.ticks")
LIVE = text("SELECT count(*) FROM jobs WHERE state NOT IN ('completed', 'dead', 'cancelled')")
OWED = text("SELECT count(*) FROM replies")
ENQUEUED = text("SELECT count(*) FROM penstock_outbox")


@dataclass(kw_only=True)
class Run:
    """What a run has come to."""

    seed: int
    seconds: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    drain_seconds: float = 0.0
    verdict: Verdict | None = None
    grown: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Nothing lost, doubled, unexpected; the books balance; what was begun has a receipt; nothing has grown."""
        verdict = self.verdict
        return verdict is not None and verdict.is_clean and verdict.confirmed == verdict.invoked and not self.grown

    def document(self) -> dict[str, Any]:
        """For a file."""
        return {**asdict(self), "faults": dict(self.faults), "is_clean": self.is_clean}


@contextmanager
def staged(folder: Path, *, seed: int) -> Iterator[Victim]:
    """Servers, proxies before them, a provider, a relay and two pools of two processes, each with a dispatcher."""
    with ExitStack() as stack:
        postgres = stack.enter_context(PrivatePostgres())
        rabbitmq = stack.enter_context(PrivateRabbitMQ())
        database_url = postgres.create_database()
        migrate(database_url)
        ledger = Ledger(database_url)
        with ledger.session() as session:
            session.connection.execute(text("CREATE TABLE effects_of_tests (name TEXT NOT NULL)"))
            declare(session, Registry.load(MODULES).schedules)
        outbox_url = _make_outbox(postgres)
        _declare_replies(rabbitmq)
        to_postgres = stack.enter_context(Proxy(database_url))
        to_rabbitmq = stack.enter_context(Proxy(rabbitmq.url))
        provider = stack.enter_context(Provider(folder))
        pools = [
            RunningPool(
                database_url=to_postgres.url,
                broker_url=to_rabbitmq.url,
                folder=folder,
                modules=MODULES,
                name=name,
                processes=2,
                threads=4,
                grace_seconds=5.0,
                sink=Sink(folder / "sink"),
                environment={VARIABLE: provider.address},
            )
            for name in POOLS
        ]
        for pool in pools:
            stack.enter_context(pool)
        relay_url = make_url(to_postgres.url).set(database=make_url(outbox_url).database)
        relay = RunningRelay(
            outbox_url=relay_url.render_as_string(hide_password=False), broker_url=to_rabbitmq.url, folder=folder
        )
        yield Victim(
            pools=pools,
            relay=stack.enter_context(relay),
            outbox_url=outbox_url,
            postgres=postgres,
            rabbitmq=rabbitmq,
            to_postgres=to_postgres,
            to_rabbitmq=to_rabbitmq,
            provider=provider,
            ledger=ledger,
            draw=random.Random(seed),
        )


def run(folder: Path, *, seed: int, seconds: float, say: Any = print) -> Run:
    """One run from the first publish to the verdict."""
    result = Run(seed=seed)
    with staged(folder, seed=seed) as victim:
        started, began_at = time.monotonic(), datetime.now(UTC)
        load = Load(ways=_ways(victim), folder=folder, seed=seed, per_second=JOBS_PER_SECOND)
        vitals = Vitals(victim)
        with load:
            until(lambda: len(load.lines) > 20, timeout_seconds=60, what="the load to begin")
            while time.monotonic() - started < seconds or result.faults.total() < FAULTS_MIN:
                _strike(victim, result, say)
                vitals.look()
            heal(victim)
            healed_at = datetime.now(UTC)
            load.finish()
        result.seconds = time.monotonic() - started
        result.drain_seconds = _drain(victim)
        result.grown = vitals.grown()
        say(f"vitals: {vitals}")
        result.verdict = _verdict(victim, load, ticks=[*ticks_between(began_at, healed_at)])
    return result


def _make_outbox(postgres: PrivatePostgres) -> str:
    """The database of a service, with an outbox in it; its address."""
    url = postgres.create_database()
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql(DDL["postgresql"])
    engine.dispose()
    return url


def _declare_replies(rabbitmq: PrivateRabbitMQ) -> None:
    """Where those who ask are answered; nobody answers into a queue that is not there."""
    with pika.BlockingConnection(pika.URLParameters(rabbitmq.url)) as connection:
        connection.channel().queue_declare(REPLIES, durable=True, arguments={"x-queue-type": "quorum"})


def _ways(victim: Victim) -> dict[str, str]:
    """Every way in, past the proxies."""
    ledger_url = victim.ledger.url.render_as_string(hide_password=False)
    broker_url = victim.rabbitmq.url
    return {"broker": broker_url, "asking": broker_url, "ledger": ledger_url, "outbox": victim.outbox_url}


def _strike(victim: Victim, result: Run, say: Any) -> None:
    fault = victim.draw.choice(FAULTS)
    result.faults[fault.__name__] += 1
    say(f"{time.strftime('%H:%M:%S')} {fault.__name__}")
    fault(victim)
    victim.over.wait(victim.draw.uniform(*PAUSE_SECONDS))


def _drain(victim: Victim) -> float:
    """Wait until every job has ended and every pool is ready; the seconds that it took."""
    started = time.monotonic()

    left: dict[str, int] = {}

    def is_at_rest() -> bool:
        left.clear()
        with victim.ledger.session() as session, Ledger(victim.outbox_url).session() as service:
            counts = {
                "enqueued": service.connection.execute(ENQUEUED).scalar_one(),
                "live": session.connection.execute(LIVE).scalar_one(),
                "replies owed": session.connection.execute(OWED).scalar_one(),
            }
        left.update((what, count) for what, count in (counts | _messages(victim)).items() if count)
        return not left

    try:
        until(is_at_rest, timeout_seconds=DRAIN_SECONDS_MAX, what="the end of all jobs")
    except AssertionError as error:
        raise AssertionError(f"{error}: {left}") from None
    until(lambda: all(pool.get("/readyz")[0] == 200 for pool in victim.pools), timeout_seconds=60, what="readiness")
    return time.monotonic() - started


def _messages(victim: Victim) -> dict[str, int]:
    """How many are in each queue of jobs."""
    rows = [line.split() for line in victim.rabbitmq.ctl("list_queues", "name", "messages").splitlines()]
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit() and row[0] != REPLIES}


def _replies(victim: Victim) -> list[dict[str, Any]]:
    """What those who asked have been told, each with its kind."""
    found = []
    with pika.BlockingConnection(pika.URLParameters(victim.rabbitmq.url)) as connection:
        channel = connection.channel()
        while (got := channel.basic_get(REPLIES, auto_ack=True))[0] is not None:
            found.append(json.loads(got[2]) | {"kind": str(got[1].type).removeprefix("penstock.")})
    return found


def _verdict(victim: Victim, load: Load, *, ticks: list[str]) -> Verdict:
    history = load.lines
    with victim.ledger.session() as session:
        rows = [str(name) for name in session.connection.execute(text("SELECT name FROM effects_of_tests")).scalars()]
        wrong = balance(session, history) + unanswered(history, _replies(victim))
    return judge(history, rows=rows, posts=victim.provider.effects(), wrong=wrong, ticks=ticks)


def main() -> int:
    """Print what was done and what came of it; returns the exit status."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("seed", type=int)
    arguments.add_argument("minutes", type=float)
    arguments.add_argument("--result", type=Path, help="write the result there, as JSON")
    given = arguments.parse_args()
    print(f"seed {given.seed}, {given.minutes:g} minutes", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="penstock-chaos-"))
    result = run(folder, seed=given.seed, seconds=60 * given.minutes, say=lambda line: print(line, flush=True))
    print(f"seed {given.seed}: {result.faults.total()} faults in {result.seconds:.0f} s: {dict(result.faults)}")
    print(f"drained in {result.drain_seconds:.0f} s; {result.verdict}")
    for what in result.grown:
        print(f"grown: {what}")
    print(f"{'clean' if result.is_clean else 'NOT CLEAN'}; logs and histories are in {folder}")
    if given.result is not None:
        given.result.write_text(json.dumps(result.document(), indent=2) + "\n")
    return 0 if result.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
