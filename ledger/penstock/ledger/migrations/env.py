"""Alembic's entry: runs on the connection, and within the transaction, that `migrate` hands over."""

from alembic import context

from penstock.ledger.revision import VERSION_TABLE
from penstock.ledger.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,  # handlers may keep their own tables here, and the revision of those
    transactional_ddl=False,  # the transaction is already open around us
)
context.run_migrations()
