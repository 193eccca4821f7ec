"""A relay as a process of its own, as a service runs one, to be killed and started again."""

import os
import signal
import sys
from pathlib import Path
from typing import Self

from tests.servers.leash import Leashed


class RunningRelay:
    """`with RunningRelay(...) as relay:`; it has no state but the outbox."""

    def __init__(self, *, outbox_url: str, broker_url: str, folder: Path) -> None:
        self._words = ["relay", "--database-url", outbox_url, "--broker-url", broker_url]
        self._folder = folder
        self._process: Leashed | None = None

    @property
    def is_running(self) -> bool:
        """Whether its process lives; it does not start on an outbox that it cannot reach."""
        return self._process is not None and self._process.is_running()

    def start(self) -> None:
        """Start it, if it does not run."""
        if not self.is_running:
            self._process = Leashed(
                [sys.executable, "-m", "penstock.console", *self._words],
                folder=self._folder,
                log=self._folder / "relay.log",
                environment=dict(os.environ),
            )

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.stop(signal.SIGKILL)
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()
