"""A Redis of our own. It keeps nothing on disk: whoever restarts it finds it empty."""

import os
import shutil
import signal
import tempfile
from pathlib import Path
from typing import Self

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from tests.servers.binaries import redis_program
from tests.servers.errors import ServerError
from tests.servers.leash import Leashed
from tests.servers.ports import free_port
from tests.waiting import until

START_SECONDS_MAX = 10.0


class PrivateRedis:
    """A Redis on a free port: `with PrivateRedis() as redis: ...`."""

    def __init__(self) -> None:
        program = redis_program()
        if program is None:
            raise ServerError("redis-server is not installed; install the package `redis-server`")
        self._program = program
        self._port = free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="penstock-redis-"))
        self._process: Leashed | None = None

    @property
    def url(self) -> str:
        """The address of its database 0."""
        return f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        """Start it and return once it answers. Does nothing when it runs."""
        if self.is_running():
            return
        words = f"--port {self._port} --bind 127.0.0.1 --appendonly no --dir {self._folder} --save".split()
        self._process = Leashed([self._program, *words, ""], folder=self._folder, log=self._folder / "log")
        until(self._answers, timeout_seconds=START_SECONDS_MAX, what=f"Redis on port {self._port} to answer")

    def stop(self) -> None:
        """Stop it in an orderly way."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """It takes connections, and never answers again."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def flush(self) -> None:
        """Everything that it had is gone."""
        with Redis.from_url(self.url) as client:
            client.flushall()

    def is_running(self) -> bool:
        """Whether its process lives."""
        return self._process is not None and self._process.is_running()

    def close(self) -> None:
        """Kill it and delete its folder."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _answers(self) -> bool:
        if self._process is not None and not self._process.is_running():
            raise ServerError(f"Redis ended while it started:\n{self._process.last_words()}")
        try:
            with Redis.from_url(self.url) as client:
                return bool(client.ping())
        except RedisConnectionError:
            return False

    def _end(self, signal_: signal.Signals) -> None:
        if self._process is not None:
            self._process.stop(signal_)
            self._process = None
