"""The schema: made in steps, the same as `tables` says, and safe to make by many at once."""

from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, Table
from tests.ledger.crowd import each_at_once
from tests.ledger.samples import accepted, count, state_of
from tests.servers.ports import free_port

from penstock.ledger import migrations, tables
from penstock.ledger.database import Ledger, LedgerUnavailable, Session
from penstock.ledger.migrations import migrate
from penstock.ledger.revision import VERSION_TABLE, SchemaUnfit, check_schema, known_revisions


@pytest.fixture(params=["postgres", "sqlite"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Ledger:
    """A database without any table."""
    if request.param == "sqlite":
        return Ledger(f"sqlite:///{tmp_path / 'empty.db'}")
    return Ledger(request.getfixturevalue("database_url"))


def test_migrating_from_nothing_makes_a_ledger_that_works(empty: Ledger) -> None:
    """And doing it again changes nothing."""
    migrate(_url(empty))
    with empty.session() as session:
        job_id = accepted(session)
        check_schema(session)
    migrate(_url(empty))
    with empty.session() as session:
        assert state_of(session, job_id) == "available"
        check_schema(session)


def test_a_release_knows_its_revisions_from_the_names_of_the_files() -> None:
    """As Alembic finds them by reading the files."""
    script = ScriptDirectory(str(Path(migrations.__file__).parent))
    assert known_revisions() == [it.revision for it in script.walk_revisions()][::-1]


def test_large_payloads_are_compressed_by_lz4(database_url: str) -> None:
    """Where the server was built with it, as Debian's and the official images are."""
    migrate(database_url)
    with Ledger(database_url).session() as session:
        known = session.connection.exec_driver_sql(
            "SELECT 'lz4' = ANY (enumvals) FROM pg_settings WHERE name = 'default_toast_compression'"
        ).scalar()
        accepted(session, body=b'{"text":"' + b"to and fro " * 10_000 + b'"}')
        used = session.connection.exec_driver_sql("SELECT pg_column_compression(payload) FROM jobs").scalar()
    assert used == ("lz4" if known else "pglz")


def test_many_migrations_at_once_wait_for_each_other(empty: Ledger) -> None:
    """Every pod of a deployment may run it."""
    with empty.session():  # the file exists
        pass
    each_at_once(empty, lambda _, __: migrate(_url(empty)), range(4))
    with empty.session() as session:
        check_schema(session)
        assert count(session, tables.jobs) == 0


def test_the_tables_are_what_the_migrations_make(empty: Ledger) -> None:
    """As alembic compares them."""
    migrate(_url(empty))
    with empty.session() as session:
        options = {"compare_type": _as_sqlalchemy_does(empty), "version_table": VERSION_TABLE}
        context = MigrationContext.configure(session.connection, opts=options)
        assert compare_metadata(context, tables.metadata) == []


def test_every_detail_of_the_tables_is_what_the_migrations_make(empty: Ledger, tmp_path: Path) -> None:
    """Conditions of partial indexes, defaults and storage parameters too, in which alembic takes no interest."""
    migrate(_url(empty))
    with empty.session() as session:
        migrated = _details(session)
        _drop_all(session.connection)
        tables.metadata.create_all(session.connection)
        assert _details(session) == migrated
    assert len(migrated) > 30


def test_a_ledger_without_tables_is_told_from_a_current_one(empty: Ledger) -> None:
    """With what to run."""
    with empty.session() as session, pytest.raises(SchemaUnfit, match="no tables yet: run `penstock migrate`"):
        check_schema(session)


def test_an_older_schema_is_refused_with_what_to_run(ledger: Ledger) -> None:
    """This release knows a later step than the one that the ledger is at."""
    with ledger.session() as session:
        session.connection.exec_driver_sql("UPDATE penstock_revision SET version_num = '0001'")
        with pytest.raises(SchemaUnfit, match=r"is at 0001, .* run `penstock migrate`"):
            check_schema(session)


@pytest.mark.parametrize("revision", ["9001", "9002-0001"])
def test_a_newer_schema_that_was_made_for_this_release_too_is_good_enough(ledger: Ledger, revision: str) -> None:
    """During a deploy the old release runs on the new schema: migrations expand."""
    with ledger.session() as session:
        session.connection.exec_driver_sql(f"UPDATE penstock_revision SET version_num = '{revision}'")
        assert f"at {revision}, newer than this release" in check_schema(session)


def test_a_schema_that_is_too_new_is_refused_with_what_to_install(ledger: Ledger) -> None:
    """A later release has taken something away that this one needs, and says so in the name of its revision."""
    with ledger.session() as session:
        session.connection.exec_driver_sql("UPDATE penstock_revision SET version_num = '9002-9001'")
        with pytest.raises(SchemaUnfit, match=r"at 9002-9001, too new .* install one that knows revision 9001"):
            check_schema(session)


@pytest.mark.parametrize(
    "lost", ["UPDATE penstock_revision SET version_num = '1975ea83b712'", "DELETE FROM penstock_revision"]
)
def test_a_ledger_of_which_nothing_says_the_revision_is_refused(ledger: Ledger, lost: str) -> None:
    """It is never taken for an empty one."""
    with ledger.session() as session:
        session.connection.exec_driver_sql(lost)
        with pytest.raises(SchemaUnfit, match=r"nothing says which revision .* penstock_revision holds (1975|none)"):
            check_schema(session)


def test_revisions_count_on_and_remember_what_has_been_taken_away() -> None:
    """`0012-0009` is for releases that know 0009; so is all that follows."""
    known = [revision.partition("-") for revision in known_revisions()]
    assert [number for number, _, _ in known] == [f"{number:04}" for number in range(1, len(known) + 1)]
    oldest = [oldest for _, _, oldest in known]
    assert oldest == sorted(oldest)
    assert all(oldest <= number for number, _, oldest in known)


def test_there_is_no_way_down() -> None:
    """A downgrade would drop jobs; the way back is the old release on the new schema."""
    script = ScriptDirectory.from_config(migrations._config(None))
    steps = list(script.walk_revisions())
    assert steps
    assert not any(hasattr(step.module, "downgrade") for step in steps)


def test_a_migration_that_fails_leaves_nothing_behind(empty: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """All steps are one transaction, on both."""

    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    with empty.session() as session:
        before = _details(session)
    monkeypatch.setattr("alembic.operations.Operations.create_index", fail)
    with pytest.raises(ZeroDivisionError):
        migrate(_url(empty))
    with empty.session() as session:
        assert _details(session) == before


def test_a_database_that_is_not_there_says_so() -> None:
    """Without a traceback of the driver's."""
    with pytest.raises(LedgerUnavailable, match="PENSTOCK_DATABASE_URL"):
        migrate(f"postgresql://127.0.0.1:{free_port()}/nowhere")


def _url(ledger: Ledger) -> str:
    return str(ledger.url.render_as_string(hide_password=False))


def _as_sqlalchemy_does(ledger: Ledger) -> bool:
    # SQLite reflects its own loose types.
    return ledger.dialect.name == "postgresql"


def _drop_all(connection: Connection) -> None:
    found = MetaData()
    found.reflect(connection)
    found.drop_all(connection)


def _details(session: Session) -> set[tuple[Any, ...]]:
    """Everything that the database says about its tables and indexes, but for where the revision stands."""
    if session.dialect.name == "sqlite":
        query = (
            "SELECT name, sql FROM sqlite_master WHERE name NOT LIKE '%penstock_revision%' AND name NOT LIKE 'sqlite_%'"
        )
        found = session.connection.exec_driver_sql(query).all()
        return {(name, part) for name, sql in found for part in _parts(sql)}
    queries = [
        """SELECT indexname, indexdef FROM pg_indexes
        WHERE schemaname = 'public' AND tablename <> 'penstock_revision'""",
        """SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns
        WHERE table_schema = 'public' AND table_name <> 'penstock_revision'""",
        """SELECT relname, CAST(reloptions AS text) FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
        WHERE nspname = 'public' AND relkind = 'r' AND relname <> 'penstock_revision'""",
        """SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace AND conname NOT LIKE 'penstock_revision%%'""",
    ]
    return {tuple(row) for query in queries for row in session.connection.exec_driver_sql(query)}


def _parts(sql: str | None) -> list[str]:
    """The parts of a CREATE statement; their order and white space do not matter, and how SQLite adds a column."""
    return sorted(" ".join(part.split()).strip(" ,\"'") for part in (sql or "").replace(", ", "\n").splitlines())


def test_no_table_is_made_that_nobody_declares(ledger: Ledger) -> None:
    """And none is declared that nobody makes."""
    with ledger.session() as session:
        found = MetaData()
        found.reflect(session.connection)
        made: dict[str, Table] = dict(found.tables)
    assert made.keys() - {"penstock_revision"} == tables.metadata.tables.keys()
