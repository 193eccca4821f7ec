"""Does a server answer? Each probe returns None when it does, else one line that says why not."""

import pika
import psycopg
from pika.exceptions import AMQPError
from redis import Redis
from redis.exceptions import RedisError

MAY_CREATE_DATABASES = "SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user"


def postgres_refusal(url: str) -> str | None:
    """Why this Postgres cannot serve the tests: they make databases."""
    try:
        with psycopg.connect(url.replace("+psycopg", ""), connect_timeout=3) as connection:
            row = connection.execute(
                "SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user"
            ).fetchone()
    except psycopg.Error as error:
        return one_line(error)
    return None if row and row[0] else "its user may not create databases"


def rabbitmq_refusal(url: str) -> str | None:
    """Why this RabbitMQ cannot serve the tests."""
    parameters = pika.URLParameters(url)
    parameters.socket_timeout = parameters.stack_timeout = parameters.blocked_connection_timeout = 5
    try:
        pika.BlockingConnection(parameters).close()
    except (AMQPError, OSError) as error:
        return one_line(error)
    return None


def redis_refusal(url: str) -> str | None:
    """Why this Redis cannot serve the tests."""
    try:
        with Redis.from_url(url, socket_connect_timeout=3, socket_timeout=3) as client:
            client.ping()
    except (RedisError, ValueError) as error:
        return one_line(error)
    return None


def one_line(error: Exception) -> str:
    """An error as one line."""
    return " ".join((str(error) or repr(error)).split())
