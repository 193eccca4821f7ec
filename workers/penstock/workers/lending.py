"""A transaction that is lent to a handler is ours to end: with it the job is completed, or its fence held.

Rows that a handler committed by itself would stand unfenced, and once more after the next attempt.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from sqlalchemy import Connection

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def lent(connection: Connection) -> Iterator[Connection]:
    """The connection, whose `commit` and `rollback` raise `RuntimeError`, and whose `begin` is `begin_nested`.

    An ORM session on it begins, and so gets a savepoint too.
    """
    own: dict[str, Any] = vars(connection)  # what stands here goes before the methods of the class
    begin = connection.begin_nested

    def begin_at_the_first_statement() -> None:
        # The one place below SQLAlchemy's public interface: its own begin goes by the same name as the handler's.
        del own["begin"]
        try:
            Connection._autobegin(connection)  # noqa: SLF001
        finally:
            own["begin"] = begin

    own |= {
        "commit": _refuse_commit,
        "rollback": _refuse_rollback,
        "begin": begin,
        "_autobegin": begin_at_the_first_statement,
    }
    try:
        yield connection
    finally:
        for name in ("commit", "rollback", "begin", "_autobegin"):
            own.pop(name, None)


def _refuse_commit() -> NoReturn:
    raise RuntimeError(
        "commit() stands inside ctx.transaction() or ctx.checkpoint(), which commit at their end: leave it out"
    )


def _refuse_rollback() -> NoReturn:
    raise RuntimeError(
        "rollback() stands inside ctx.transaction() or ctx.checkpoint(): raise an error to undo it all, "
        "or put a part of it into `with connection.begin_nested():`"
    )
