"""The servers of the tests do what the fault tests count on."""

import pika
import psycopg
import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from tests.servers.ports import is_listening
from tests.servers.postgres import PrivatePostgres
from tests.servers.rabbitmq import PrivateRabbitMQ
from tests.servers.redis import PrivateRedis


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
def test_a_private_postgres_keeps_what_was_committed_when_it_is_stopped_without_warning() -> None:
    """The fault tests pull the plug of the database and read the ledger afterwards."""
    with PrivatePostgres() as postgres:
        with psycopg.connect(postgres.url.replace("+psycopg", "")) as connection:
            connection.execute("CREATE TABLE letters (letter text)")
            connection.execute("INSERT INTO letters VALUES ('a')")
        postgres.stop_immediately()
        with pytest.raises(psycopg.OperationalError):
            rows_of(postgres)
        postgres.start()
        assert rows_of(postgres) == [("a",)]
        postgres.stop()
        postgres.start()
        assert rows_of(postgres) == [("a",)]


@pytest.mark.faults
def test_a_private_rabbitmq_keeps_confirmed_messages_when_it_is_killed_and_none_when_it_is_wiped() -> None:
    """The fault tests kill the broker, and lose everything that it held."""
    with PrivateRabbitMQ() as rabbitmq:
        publish(rabbitmq, "letters")
        rabbitmq.restart()
        assert waiting_messages(rabbitmq, "letters") == 1
        rabbitmq.wipe()
        assert rabbitmq.ctl("list_queues", "name") == ""
        assert waiting_messages(rabbitmq, "letters") == 0


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
