"""Fresh Postgres databases, one per test: made and dropped in some 30 ms each."""

import itertools
from collections.abc import Callable

import psycopg
from sqlalchemy import make_url
from tests.servers.session import PREFIX, is_leftover, name_of


class Databases:
    """The databases that this session makes on one server."""

    def __init__(self, *, url: str) -> None:
        """`url` is the SQLAlchemy address of a database whose user may create others."""
        self._url = make_url(url).set(drivername="postgresql")
        self._admin = psycopg.connect(self._url.render_as_string(hide_password=False), autocommit=True)
        self._numbers = itertools.count(1)
        self._template: str | None = None
        self._drop_leftovers()

    def create(self) -> str:
        """Make an empty database and return its SQLAlchemy address."""
        return self._create(copy_of="template0")

    def create_migrated(self, migrate: Callable[[str], None]) -> str:
        """Make a database with the ledger's tables: the first call migrates a template, each call copies it."""
        if self._template is None:
            self._template = self._migrated_template(migrate)
        return self._create(copy_of=self._template)

    def drop(self, url: str) -> None:
        """Drop a database, cutting off whoever still uses it."""
        self._drop(str(make_url(url).database))

    def close(self) -> None:
        """Drop the template and disconnect."""
        if self._template is not None:
            self._drop(self._template)
        self._admin.close()

    def _migrated_template(self, migrate: Callable[[str], None]) -> str:
        url = self._create(copy_of="template0")
        name = str(make_url(url).database)
        try:
            migrate(url)
        except BaseException:
            self._drop(name)
            raise
        self._execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        self._execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        return name

    def _create(self, *, copy_of: str) -> str:
        name = name_of(next(self._numbers))
        self._execute(f'CREATE DATABASE "{name}" TEMPLATE "{copy_of}"')
        return self._url.set(drivername="postgresql+psycopg", database=name).render_as_string(hide_password=False)

    def _drop(self, name: str) -> None:
        self._execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def _drop_leftovers(self) -> None:
        names = self._admin.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [PREFIX])
        for (name,) in names.fetchall():
            if is_leftover(name):
                self._drop(name)

    def _execute(self, statement: str) -> None:
        self._admin.execute(statement.encode())
