"""Redis, where there is one."""

from redis import Redis
from redis.exceptions import RedisError

from penstock.console.doctor.finding import Finding, ok, problem, skipped
from penstock.console.printing import one_line

TIMEOUT_SECONDS = 2.0


def check(url: str | None) -> Finding:
    """Whether it answers. It never holds truth, so nothing is lost without it."""
    if not url:
        return skipped("redis", "none: PENSTOCK_REDIS_URL is not set")
    try:
        with Redis.from_url(url, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS) as redis:
            version = redis.info("server")["redis_version"]
    except ValueError:
        return problem(
            "redis", "PENSTOCK_REDIS_URL is not a Redis URL", "write redis://host:6379/0 (rediss:// for TLS)"
        )
    except (RedisError, OSError) as error:
        said = f"it does not answer: {one_line(str(error))}; nothing is lost, rate limits turn conservative"
        return problem("redis", said, "start it, or correct or unset PENSTOCK_REDIS_URL")
    return ok("redis", f"version {version}")
