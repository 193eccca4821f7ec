"""Alembic's entry: runs on the connection, and within the transaction, that `migrate` hands over."""

from alembic import context

from penstock.ledger.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=False,  # the transaction is already open around us
)
context.run_migrations()
