"""A connection to SQLite for the process that has opened it, and for no other.

Two processes must not share one. What a fork does with that of its parent, be it a rollback as an error comes through a
`with`, changes what the parent has not committed yet, in files and in memory that both have.
"""

import os
import sqlite3
from typing import Any, ClassVar, NoReturn


class OwnConnection(sqlite3.Connection):
    """Refuses statements in a fork with `ProgrammingError`, and is never closed there."""

    # In a fork: what is closed rolls back, also where it is merely forgotten.
    _kept: ClassVar[list[sqlite3.Connection]] = []

    def __init__(self, *words: Any, **options: Any) -> None:
        self._pid = os.getpid()
        super().__init__(*words, **options)

    def cursor(self, *words: Any, **options: Any) -> Any:
        return super().cursor(*words, **options) if self._is_own else self._refuse()

    def execute(self, *words: Any) -> sqlite3.Cursor:
        return super().execute(*words) if self._is_own else self._refuse()

    def commit(self) -> None:
        return super().commit() if self._is_own else self._refuse()

    def rollback(self) -> None:
        if self._is_own:
            super().rollback()

    def close(self) -> None:
        if self._is_own:
            super().close()

    def __del__(self) -> None:
        if not self._is_own:
            self._kept.append(self)

    @property
    def _is_own(self) -> bool:
        return self._pid == os.getpid()

    def _refuse(self) -> NoReturn:
        raise sqlite3.ProgrammingError("this connection is that of the process that has forked this one: open another")
