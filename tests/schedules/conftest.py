"""A ledger and a session on it, on each kind of database."""

from tests.ledger.conftest import ledger, session

__all__ = ["ledger", "session"]
