"""The servers of the tests do what the fault tests count on."""

from dataclasses import replace
from pathlib import Path

import pika
import psycopg
import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from sqlalchemy import create_engine, inspect
from tests.servers.databases import Databases
from tests.servers.discovery import REDIS, find
from tests.servers.errors import NoServerError, ServerError
from tests.servers.ports import free_port, is_listening
from tests.servers.postgres import PrivatePostgres
from tests.servers.prometheus import find_programs
from tests.servers.rabbitmq import PrivateRabbitMQ
from tests.servers.redis import PrivateRedis
from tests.servers.virtual_hosts import ByManagement, VirtualHosts


def rows_of(postgres: PrivatePostgres) -> list[tuple[str]]:
    """What stands in the table `letters`."""
    with psycopg.connect(postgres.url.replace("+psycopg", "")) as connection:
        return connection.execute("SELECT letter FROM letters ORDER BY letter").fetchall()


def waiting_messages(rabbitmq: PrivateRabbitMQ, queue: str) -> int:
    """How many messages the queue holds; asking creates it."""
    with pika.BlockingConnection(pika.URLParameters(rabbitmq.url)) as connection:
        declared = connection.channel().queue_declare(queue, durable=True)
        return declared.method.message_count or 0


def publish(rabbitmq: PrivateRabbitMQ, queue: str) -> None:
    """Put one confirmed persistent message into the queue."""
    with pika.BlockingConnection(pika.URLParameters(rabbitmq.url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare(queue, durable=True)
        channel.basic_publish("", queue, b"hello", pika.BasicProperties(delivery_mode=2), mandatory=True)


@pytest.mark.faults
def test_a_private_postgres_keeps_what_was_committed_when_it_is_stopped_without_warning(
    private_postgres: PrivatePostgres,
) -> None:
    """The fault tests pull the plug of the database and read the ledger afterwards."""
    with psycopg.connect(private_postgres.url.replace("+psycopg", "")) as connection:
        connection.execute("CREATE TABLE letters (letter text)")
        connection.execute("INSERT INTO letters VALUES ('a')")
    private_postgres.stop_immediately()
    with pytest.raises(psycopg.OperationalError):
        rows_of(private_postgres)
    private_postgres.start()
    assert rows_of(private_postgres) == [("a",)]
    private_postgres.stop()


@pytest.mark.faults
def test_a_private_postgres_that_a_test_left_stopped_runs_again_for_the_next(private_postgres: PrivatePostgres) -> None:
    """Each test may leave it as it likes, and finds a database of its own."""
    with psycopg.connect(private_postgres.create_database().replace("+psycopg", "")) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    assert tables == []


@pytest.mark.faults
def test_a_private_rabbitmq_keeps_confirmed_messages_when_it_is_killed_and_none_when_it_is_wiped(
    private_rabbitmq: PrivateRabbitMQ,
) -> None:
    """The fault tests kill the broker, and lose everything that it held."""
    publish(private_rabbitmq, "letters")
    private_rabbitmq.restart()
    assert waiting_messages(private_rabbitmq, "letters") == 1
    private_rabbitmq.wipe()
    assert private_rabbitmq.ctl("list_queues", "name") == ""
    publish(private_rabbitmq, "letters")


@pytest.mark.faults
def test_a_private_rabbitmq_is_empty_again_for_the_next_test(private_rabbitmq: PrivateRabbitMQ) -> None:
    """What the test before has published is gone."""
    assert waiting_messages(private_rabbitmq, "letters") == 0


@pytest.mark.faults
def test_a_private_redis_comes_back_empty_after_it_was_killed() -> None:
    """Redis holds nothing that may not be lost, and the tests prove it by losing it."""
    with PrivateRedis() as redis, Redis.from_url(redis.url, decode_responses=True) as client:
        client.set("letter", "a")
        redis.kill()
        with pytest.raises(RedisConnectionError):
            client.get("letter")
        redis.start()
        assert client.get("letter") is None


@pytest.mark.faults
def test_a_private_server_is_gone_when_its_block_ends_in_an_error() -> None:
    """A failing test leaves no process behind."""
    seen: list[PrivateRedis] = []

    def failing_test() -> None:
        with PrivateRedis() as redis:
            seen.append(redis)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing_test()
    port = int(seen[0].url.split(":")[2].split("/")[0])
    assert not is_listening(port)


def test_each_test_gets_an_empty_database_of_its_own(databases: Databases) -> None:
    """No test sees the rows of another."""
    first, second = databases.create(), databases.create()
    with psycopg.connect(first.replace("+psycopg", "")) as connection:
        connection.execute("CREATE TABLE letters (letter text)")
    with psycopg.connect(second.replace("+psycopg", "")) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    assert tables == []
    databases.drop(first)
    databases.drop(second)


def test_a_database_is_dropped_while_somebody_is_connected(databases: Databases) -> None:
    """A test that leaks a connection does not break the ones after it."""
    url = databases.create().replace("+psycopg", "")
    with psycopg.connect(url) as connection:
        databases.drop(url)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")


def test_a_ledger_of_each_kind_is_migrated_and_empty(ledger_url: str) -> None:
    """What the conformance suite runs on."""
    engine = create_engine(ledger_url)
    tables = set(inspect(engine).get_table_names())
    engine.dispose()
    assert "jobs" in tables


@pytest.mark.parametrize("time", ["first", "second"])
def test_each_test_gets_an_empty_virtual_host(broker_url: str, time: str) -> None:
    """No test sees the queues of another."""
    with pika.BlockingConnection(pika.URLParameters(broker_url)) as connection:
        declared = connection.channel().queue_declare("letters", durable=True)
        assert declared.method.message_count == 0
        channel = connection.channel()
        channel.confirm_delivery()
        channel.basic_publish("", "letters", b"hello", mandatory=True)


@pytest.mark.parametrize("time", ["first", "second"])
def test_each_test_gets_an_empty_redis(redis_url: str, time: str) -> None:
    """No test sees the keys of another."""
    with Redis.from_url(redis_url) as client:
        assert client.set("letter", "a", nx=True)


def test_virtual_hosts_are_made_through_the_management_api_where_there_is_no_rabbitmqctl() -> None:
    """RabbitMQ in a container has its management port open, its rabbitmqctl is out of reach."""
    with PrivateRabbitMQ(plugins=["rabbitmq_management"]) as rabbitmq:
        address = f"http://127.0.0.1:{rabbitmq.management_port}"
        hosts = VirtualHosts(url=rabbitmq.url, maker=ByManagement(address=address, user="guest", password="guest"))
        with pika.BlockingConnection(pika.URLParameters(hosts.next_url())) as connection:
            connection.channel().queue_declare("letters")
        hosts.close()
        assert rabbitmq.ctl("list_vhosts").split() == ["name", "/"]


def test_a_machine_without_servers_is_an_error_that_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests that need a server fail with a reason; they never skip."""
    monkeypatch.setenv("PENSTOCK_TEST_REDIS_URL", "redis://127.0.0.1:1")
    with pytest.raises(NoServerError, match=r"PENSTOCK_TEST_REDIS_URL is set, but .*127\.0\.0\.1:1"):
        find(REDIS)

    def absent() -> PrivateRedis:
        raise ServerError("redis-server is not installed")

    monkeypatch.delenv("PENSTOCK_TEST_REDIS_URL")
    monkeypatch.setenv("PENSTOCK_TEST_INSTALL", "no")
    monkeypatch.setattr("tests.servers.compose.unusable", lambda: "no docker engine answers")
    with pytest.raises(NoServerError) as raised:
        find(replace(REDIS, urls=(), private=absent))
    assert "redis-server is not installed" in str(raised.value)
    assert "no docker engine answers" in str(raised.value)
    assert "Remedy: set PENSTOCK_TEST_REDIS_URL" in str(raised.value)


def test_a_machine_without_prometheus_is_an_error_that_names_the_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Neither installed nor to be fetched; and a folder that is named must have it."""
    monkeypatch.setenv("PENSTOCK_TEST_INSTALL", "no")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(NoServerError) as raised:
        find_programs(tmp_path)
    assert "PENSTOCK_TEST_INSTALL=no forbids it" in str(raised.value)
    assert "Remedy: set PENSTOCK_TEST_PROMETHEUS" in str(raised.value)
    monkeypatch.setenv("PENSTOCK_TEST_PROMETHEUS", str(tmp_path))
    with pytest.raises(NoServerError, match=f"{tmp_path}, which does not have both"):
        find_programs(tmp_path)


def test_a_session_without_a_running_server_starts_one_of_its_own() -> None:
    """A laptop with the programs installed and nothing started needs no preparation."""
    found = find(replace(REDIS, urls=()))
    assert found.where == "private, started for this session"
    with Redis.from_url(found.url) as client:
        assert client.ping()
    found.close()


def test_no_port_is_given_twice() -> None:
    """Services that start together draw theirs before any of them listens."""
    ports = [free_port() for _ in range(1_000)]
    assert len(set(ports)) == len(ports)
