"""Outages of 200 ms: shorter than any timeout, and again before everybody has come back from the last one."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from tests.faults.trial import Trial, trial
from tests.producers.gateway import minutes
from tests.producers.gateway.running import RunningGateway
from tests.servers.databases import Databases
from tests.servers.proxy import Proxy
from tests.servers.redis import PrivateRedis
from tests.servers.virtual_hosts import OnlyTheOneGiven, VirtualHosts

from penstock.ledger.api_keys import ApiKey, add_key, hash_of, new_key_text
from penstock.ledger.database import Ledger
from penstock.ledger.jobs import list_jobs
from penstock.ledger.migrations import migrate

pytestmark = pytest.mark.faults

BLINKS = 5
BLINK_SECONDS = 0.2


@pytest.fixture(scope="module")
def proxies(databases: Databases, virtual_hosts: VirtualHosts | OnlyTheOneGiven) -> Iterator[dict[str, Proxy]]:
    """In front of both servers."""
    url = databases.create_migrated(migrate)
    with Proxy(url) as to_postgres, Proxy(virtual_hosts.next_url()) as to_rabbitmq:
        yield {"Postgres": to_postgres, "RabbitMQ": to_rabbitmq}
    databases.drop(url)


@pytest.fixture(scope="module")
def behind_proxies(tmp_path_factory: pytest.TempPathFactory, proxies: dict[str, Proxy]) -> Iterator[Trial]:
    """A pool that comes to both servers through them, and a load that does not."""
    to_postgres, to_rabbitmq = proxies["Postgres"], proxies["RabbitMQ"]
    with trial(
        to_postgres.direct_url,
        to_rabbitmq.direct_url,
        tmp_path_factory.mktemp("blinks"),
        database_url=to_postgres.url,
        broker_url=to_rabbitmq.url,
    ) as its:
        yield its


def blink(*proxies: Proxy) -> None:
    """Everybody is cut off, nobody gets in, for a moment."""
    for proxy in proxies:
        proxy.is_refusing = True
        proxy.reset()
    threading.Event().wait(BLINK_SECONDS)
    for proxy in proxies:
        proxy.heal()


@pytest.mark.parametrize("away", [("Postgres",), ("RabbitMQ",), ("Postgres", "RabbitMQ")])
def test_nothing_is_lost_or_used_up_by_outages_of_200_ms(
    behind_proxies: Trial, proxies: dict[str, Proxy], away: tuple[str, ...]
) -> None:
    """The pool is ready again by itself, and all that was published is done once."""
    with behind_proxies.under_load(f"{' and '.join(away)} away for 200 ms, five times"):
        for _ in range(BLINKS):
            blink(*(proxies[name] for name in away))
            threading.Event().wait(BLINK_SECONDS)


def test_redis_away_for_200_ms_costs_no_answer(sqlite_url: str, private_redis: PrivateRedis) -> None:
    """Every request has one: that there is too much, or that the job is accepted, which is then so."""
    key_id, secret = new_key_text()
    with ExitStack() as stack:
        session = stack.enter_context(Ledger(sqlite_url).session())
        key = ApiKey(id=key_id, name="shop", secret_hash=hash_of(secret), scopes=("publish:*",), per_minute=40)
        add_key(session, key, actor="ann")
        proxy = stack.enter_context(Proxy(private_redis.url))
        gateway = stack.enter_context(
            RunningGateway(sqlite_url, asks_credentials=True, redis_url=proxy.url, gateways=2)
        )
        headers = {"Authorization": f"Bearer {secret}"}
        job = {"type": "demo.add_row", "version": 1, "payload": {"n": 1}}
        minutes.enough_of_this_one()
        answers = [gateway.client.post("/v1/jobs", json=job, headers=headers).status_code for _ in range(5)]
        blinking = threading.Thread(target=blink, args=[proxy])
        blinking.start()
        answers += [gateway.client.post("/v1/jobs", json=job, headers=headers).status_code for _ in range(60)]
        blinking.join()
        accepted = answers.count(202)
        assert set(answers) == {202, 429}
        assert len(list_jobs(session, limit=100)) == accepted
        assert 20 <= accepted <= 60  # its own share at least; at most all of Redis's and its own
