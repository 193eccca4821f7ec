"""A second pair of eyes on the tables that were loaded: plain SQL on a connection of its own."""

from typing import Any

from sqlalchemy import create_engine, inspect, text
from sqlalchemy.pool import NullPool


class Tables:
    """Reads the database without Penstock."""

    def __init__(self, url: str) -> None:
        self._engine = create_engine(url, poolclass=NullPool)

    def read(self, statement: str) -> list[tuple[Any, ...]]:
        with self._engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(statement))]

    def write(self, statement: str) -> None:
        with self._engine.begin() as connection:
            connection.execute(text(statement))

    def names(self) -> set[str]:
        return set(inspect(self._engine).get_table_names())

    def close(self) -> None:
        self._engine.dispose()
