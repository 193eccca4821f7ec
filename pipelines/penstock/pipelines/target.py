"""The tables that rows go to: the declared one, and beside it the one for rows that do not fit."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Date,
    Float,
    MetaData,
    String,
    Table,
    Text,
    func,
    inspect,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.types import TypeEngine

from penstock.ledger.revision import VERSION_TABLE
from penstock.ledger.tables import metadata as ledger_tables
from penstock.pipelines.contracts import LINE, SOURCE, ColumnType, CsvShape
from penstock.pipelines.errors import TableNotFitting

TYPES: dict[ColumnType, type[TypeEngine[Any]]] = {
    "text": Text,
    "integer": BigInteger,
    "float": Float,
    "date": Date,
    "boolean": Boolean,
}


class Target:
    """Both tables of a job. Raises `TableNotFitting` for a name that the ledger itself uses.

    Their primary key is (file, line): a row that is there already is left alone, whoever tries again and when.
    """

    def __init__(self, job: CsvShape) -> None:
        rejected = f"{job.table}_rejected"
        for name in (job.table, rejected):
            if name in ledger_tables.tables or name == VERSION_TABLE:
                raise TableNotFitting(f"{name} is a table of the ledger; choose another name")
        tables = MetaData()
        required = set(job.required)
        self.rows = Table(
            job.table,
            tables,
            *_place(),
            *(Column(name, TYPES[kind], nullable=name not in required) for name, kind in job.columns.items()),
        )
        self.rejected = Table(
            rejected, tables, *_place(), Column("reason", Text, nullable=False), Column("record", Text, nullable=False)
        )

    def create(self, connection: Connection) -> None:
        """Make what is missing; raises `TableNotFitting` if something else is there under the name."""
        if connection.dialect.name == "postgresql":  # two at once would both find no table
            connection.execute(select(func.pg_advisory_xact_lock(func.hashtext(self.rows.name))))
        for table in (self.rows, self.rejected):
            inspector = inspect(connection)
            if not inspector.has_table(table.name):
                table.create(connection)
                continue
            there = {column["name"] for column in inspector.get_columns(table.name)}
            missing = sorted({column.name for column in table.columns} - there)
            key = inspector.get_pk_constraint(table.name)["constrained_columns"]
            if missing or key != [SOURCE, LINE]:
                raise TableNotFitting(
                    f"the table {table.name} is there and does not fit"
                    + (f": it has no column {', '.join(missing)}" if missing else ": it was not made by a pipeline")
                )

    def insert(self, connection: Connection, table: Table, rows: list[dict[str, Any]]) -> int:
        """Add rows; returns how many of them were not there yet."""
        if not rows:
            return 0
        make: Any = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
        statement = make(table).on_conflict_do_nothing(index_elements=[SOURCE, LINE]).returning(table.c[LINE])
        return len(connection.execute(statement, rows).all())


def _place() -> tuple[Column[str], Column[int]]:
    return Column(SOURCE, String(64), primary_key=True), Column(LINE, BigInteger, primary_key=True, autoincrement=False)
