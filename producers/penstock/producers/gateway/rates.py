"""How much a caller may ask: counted in Redis for all gateways, or in this process for its share."""

import time
from typing import Any

from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import RateLimiter, SlidingWindowCounterRateLimiter
from redis.asyncio import ConnectionPool

from penstock.producers.gateway.caller import Caller
from penstock.producers.gateway.problems import Problem

REDIS_SECONDS_MAX = 0.5
# After a failure Redis is left alone for a while.
WITHOUT_REDIS_SECONDS = 5.0


class Rates:
    """`per_minute` is the limit of callers that have none of their own; None: they have none.

    Without an answer from Redis this process allows one part in `gateways`: so all of them together stay below.
    """

    def __init__(self, *, per_minute: int | None, redis_url: str | None, gateways: int, log: Any) -> None:
        self._per_minute = per_minute
        self._gateways = gateways
        self._log = log
        self._own = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._pool = None if redis_url is None else _pool(redis_url)
        self._shared = None if self._pool is None else SlidingWindowCounterRateLimiter(_redis(redis_url, self._pool))
        self._again_at = float("-inf")

    async def close(self) -> None:
        """The loop would wait for an open connection for half a minute and more."""
        if self._pool is not None:
            await self._pool.aclose()

    async def take(self, caller: Caller, *, jobs: int = 1) -> dict[str, str]:
        """Count a request, or so many jobs; returns headers for the answer. Raises `Problem` when it is too much."""
        per_minute = caller.per_minute if caller.per_minute is not None else self._per_minute
        if per_minute is None:
            return {}
        if self._shared is not None and time.monotonic() >= self._again_at:
            try:
                return await self._take(self._shared, caller, per_minute, jobs)
            except Problem:
                raise
            except Exception as error:  # whatever the library or the network raises: Redis never holds truth
                self._again_at = time.monotonic() + WITHOUT_REDIS_SECONDS
                self._log.warning("no rate limits from Redis", error=type(error).__name__)
        return await self._take(self._own, caller, max(1, per_minute // self._gateways), jobs)

    async def _take(self, limiter: RateLimiter, caller: Caller, per_minute: int, jobs: int) -> dict[str, str]:
        item = RateLimitItemPerMinute(per_minute)
        passes = await limiter.hit(item, caller.name, cost=jobs)
        window = await limiter.get_window_stats(item, caller.name)
        wait_seconds = max(1, round(window.reset_time - time.time()))
        headers = {
            "RateLimit-Limit": str(per_minute),
            "RateLimit-Remaining": str(window.remaining),
            "RateLimit-Reset": str(wait_seconds),
        }
        if passes:
            return headers
        detail = f"these credentials may send {per_minute} jobs or requests a minute; come again after {wait_seconds} s"
        raise Problem(
            429, "too-many", "Too many requests", detail, headers=headers | {"Retry-After": str(wait_seconds)}
        )


def _pool(url: str) -> ConnectionPool:
    """Ours: that of the library could not be closed."""
    return ConnectionPool.from_url(url, socket_timeout=REDIS_SECONDS_MAX, socket_connect_timeout=REDIS_SECONDS_MAX)


def _redis(url: str | None, pool: ConnectionPool) -> RedisStorage:
    return RedisStorage(
        f"async+{url}",
        implementation="redispy",
        wrap_exceptions=True,
        key_prefix="penstock:rates",
        connection_pool=pool,  # type: ignore[arg-type]
    )
