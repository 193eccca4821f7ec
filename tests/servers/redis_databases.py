"""An empty database of a Redis server that may hold other people's data too."""

import contextlib
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

from redis import Redis
from redis.exceptions import RedisError
from tests.servers.session import is_leftover, name_of

OWNER = "penstock_test_owner"


class RedisDatabase:
    """One database that was empty when we claimed it; a key in it says that it is ours to clear."""

    def __init__(self, *, url: str) -> None:
        """Claims a database, or raises RedisError when none is empty. A number in `url` says which one to take."""
        numbers = [int(urlsplit(url).path[1:])] if urlsplit(url).path.strip("/") else range(15, -1, -1)
        self.url = self._first_claimed(url, numbers)

    def clear(self) -> None:
        """Delete all that a test left, and keep the claim."""
        with Redis.from_url(self.url) as client, client.pipeline(transaction=True) as pipeline:
            pipeline.flushdb()
            pipeline.set(OWNER, name_of("redis"))
            pipeline.execute()

    def close(self) -> None:
        """Empty the database and let go of it."""
        with Redis.from_url(self.url) as client:
            client.flushdb()

    def _first_claimed(self, url: str, numbers: Iterable[int]) -> str:
        for candidate in _urls(url, numbers):
            # a server with fewer databases refuses the higher numbers
            with contextlib.suppress(RedisError), Redis.from_url(candidate, decode_responses=True) as client:
                if _claim(client):
                    return candidate
        raise RedisError(f"every database of {url} is in use; each process that runs tests needs an empty one")


def _urls(url: str, numbers: Iterable[int]) -> Iterator[str]:
    for number in numbers:
        yield urlsplit(url)._replace(path=f"/{number}").geturl()


def _claim(client: "Redis") -> bool:
    owner = client.get(OWNER)
    if owner is not None and is_leftover(str(owner)):
        client.flushdb()
    return client.dbsize() == 0 and bool(client.set(OWNER, name_of("redis"), nx=True))
