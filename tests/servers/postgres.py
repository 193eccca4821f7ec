"""A Postgres of our own, to be stopped and started as a test pleases."""

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Self

import psycopg
from tests.servers.binaries import postgres_folder
from tests.servers.errors import ServerError
from tests.servers.leash import Leashed, group_of, no_groups
from tests.servers.ports import free_port
from tests.waiting import until

START_SECONDS_MAX = 30.0
INITDB_WORDS = ("-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-sync")


class PrivatePostgres:
    """A Postgres on a free port, its data in a folder of its own: `with PrivatePostgres() as postgres: ...`."""

    def __init__(self, *, durable: bool = True, parent: Path | None = None) -> None:
        """`durable=False` turns fsync off: for a server that no test kills. `parent` is where its folder is made."""
        programs = postgres_folder()
        if programs is None:
            raise ServerError("no Postgres programs (initdb, postgres) are installed; install the package `postgresql`")
        self._programs = programs
        self._user = "postgres" if os.geteuid() == 0 else None
        self._durable = durable
        self._parent = parent
        self._port = free_port()
        self._folder: Path | None = None
        self._process: Leashed | None = None

    @property
    def url(self) -> str:
        """The SQLAlchemy address of its database `postgres`, which is empty."""
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        """The SQLAlchemy address of one database."""
        return f"postgresql+psycopg://postgres@127.0.0.1:{self._port}/{database}"

    def create_database(self) -> str:
        """Make a new empty database and return its address."""
        name = f"fresh_{secrets.token_hex(4)}"
        with self._connect() as connection:
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
        return self.url_of(name)

    def start(self) -> None:
        """Start it, the first time with a new data folder, and return once it answers. Does nothing when it runs."""
        if self.is_running():
            return
        folder = self._folder or self._initialised_folder()
        self._process = Leashed(
            [self._programs / "postgres", "-D", folder / "data", *self._options(folder)],
            folder=folder,
            log=folder / "log",
            user=self._user,
            signal_at_parent_death=signal.SIGQUIT,
        )
        until(self._answers, timeout_seconds=START_SECONDS_MAX, what=f"Postgres on port {self._port} to answer")

    def stop(self) -> None:
        """Stop it in fast mode: sessions are rolled back and cut, a checkpoint is written."""
        self._end(signal.SIGINT)

    def stop_immediately(self) -> None:
        """Stop it as `pg_ctl stop -m immediate` does: no checkpoint, so the next start recovers from the log."""
        self._end(signal.SIGQUIT)

    def remember(self) -> None:
        """Keep a copy of all that it has, which is the standby that got nothing of what follows."""
        self.stop()
        self._copy("data", "remembered")
        self.start()

    def fall_back(self) -> None:
        """Lose whatever was committed since `remember()`, as a failover to that standby does."""
        self.stop_immediately()
        assert self._folder is not None
        shutil.rmtree(self._folder / "data")
        self._copy("remembered", "data")
        self.start()

    def is_running(self) -> bool:
        """Whether its process lives."""
        return self._process is not None and self._process.is_running()

    def close(self) -> None:
        """Stop it and delete its data."""
        self.stop_immediately()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _initialised_folder(self) -> Path:
        self._folder = folder = Path(tempfile.mkdtemp(prefix="penstock-postgres-", dir=self._parent))
        if self._user is not None:
            shutil.chown(folder, self._user)
        made = subprocess.run(
            [
                self._programs / "initdb",
                "-D",
                folder / "data",
                "-A",
                "trust",
                "-U",
                "postgres",
                "--no-sync",
                "-E",
                "UTF8",
            ],
            cwd=folder,
            check=False,
            capture_output=True,
            text=True,
            user=self._user,
            group=group_of(self._user),
            extra_groups=no_groups(self._user),
        )
        if made.returncode:
            raise ServerError(f"initdb failed: {made.stderr}")
        return folder

    def _copy(self, source: str, target: str) -> None:
        """Within its folder, with the owner of each file."""
        assert self._folder is not None
        subprocess.run(["cp", "-a", self._folder / source, self._folder / target], check=True)

    def _options(self, folder: Path) -> list[str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self._port),
            "unix_socket_directories": str(folder),
            "fsync": "on" if self._durable else "off",
        }
        return [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]

    def _connect(self) -> psycopg.Connection:
        address = self.url.replace("+psycopg", "")
        return psycopg.connect(address, autocommit=True, connect_timeout=2)

    def _answers(self) -> bool:
        if self._process is not None and not self._process.is_running():
            raise ServerError(f"Postgres ended while it started:\n{self._process.last_words()}")
        try:
            self._connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def _end(self, signal_: signal.Signals) -> None:
        if self._process is not None:
            self._process.stop(signal_)
            self._process = None
