"""The ledger in a database in which a service keeps tables of its own, and their revision by Alembic."""

from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect
from tests.ledger.crowd import each_at_once
from tests.ledger.samples import accepted, state_of

from penstock.ledger import migrations
from penstock.ledger.database import Ledger, Session
from penstock.ledger.migrations import migrate
from penstock.ledger.revision import SchemaUnfit, check_schema, known_revisions, revision_of

STEP = """
from alembic import op

revision = "{revision}"
down_revision = None


def upgrade() -> None:
    op.execute("CREATE TABLE orders (id INTEGER)")
"""
ENV = """
from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=False)
context.run_migrations()
"""


@pytest.fixture(params=["postgres", "sqlite"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Ledger:
    """A database without any table."""
    if request.param == "sqlite":
        return Ledger(f"sqlite:///{tmp_path / 'empty.db'}")
    return Ledger(request.getfixturevalue("database_url"))


@pytest.fixture
def older(ledger: Ledger) -> Ledger:
    """A ledger as releases left it whose Alembic had no table of its own."""
    with ledger.session() as session, session.transaction():
        session.connection.exec_driver_sql("DROP TABLE penstock_revision")
        script = ScriptDirectory(str(Path(migrations.__file__).parent))
        MigrationContext.configure(session.connection).stamp(script, "0008")
    return ledger


# As people name them, and as Alembic does.
@pytest.fixture(params=["0003", "1975ea83b712"])
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A service's own migrations."""
    folder = tmp_path / "service"
    (folder / "versions").mkdir(parents=True)
    (folder / "env.py").write_text(ENV)
    (folder / "versions" / "first.py").write_text(STEP.format(revision=request.param))
    return folder


@pytest.mark.parametrize("first", ["ledger", "service"])
def test_the_ledger_and_a_service_keep_their_revisions_side_by_side(empty: Ledger, service: Path, first: str) -> None:
    """Whoever comes first, and however the service names its revisions."""
    if first == "service":
        _upgrade(empty, service)
    for _ in range(2):  # the second time there is nothing to do
        migrate(_url(empty))
        _upgrade(empty, service)
    with empty.session() as session:
        check_schema(session)
        assert _shared(session) == _head(service)
        assert inspect(session.connection).has_table("orders")


def test_a_service_alone_is_no_ledger(empty: Ledger, service: Path) -> None:
    """Even if its revision looks like one of ours."""
    _upgrade(empty, service)
    with empty.session() as session:
        assert revision_of(session) is None


def test_the_revision_of_an_older_ledger_moves_to_its_own_table(older: Ledger) -> None:
    """And releases that look for it in the old place see it there, also after steps to come."""
    with older.session() as session:
        assert revision_of(session) == "0008"
        job_id = accepted(session)
    migrate(_url(older))
    migrate(_url(older))
    with older.session() as session:
        check_schema(session)
        assert state_of(session, job_id) == "available"
        assert _shared(session) == known_revisions()[-1]
        session.connection.exec_driver_sql("UPDATE penstock_revision SET version_num = '9002-9001'")
        assert _shared(session) == "9002-9001"


def test_an_older_ledger_may_be_moved_by_many_at_once(older: Ledger) -> None:
    """Every pod of a deployment may run it, and look before and after."""

    def move(session: Session, _: int) -> str:
        assert revision_of(session) in ("0008", known_revisions()[-1])
        migrate(_url(older))
        return check_schema(session)

    assert set(each_at_once(older, move, range(4))) == {"as this release needs it"}
    with older.session() as session:
        assert _shared(session) == revision_of(session)


def test_the_old_name_is_free_for_a_service_when_its_view_is_dropped(older: Ledger, service: Path) -> None:
    """As the page on operations says, when no older release runs any more."""
    migrate(_url(older))
    with older.session() as session:
        session.connection.exec_driver_sql("DROP VIEW alembic_version")
    _upgrade(older, service)
    migrate(_url(older))
    with older.session() as session:
        assert (revision_of(session), _shared(session)) == (known_revisions()[-1], _head(service))


@pytest.mark.parametrize("there", [["1975ea83b712"], ["0008", "1975ea83b712"], []])
def test_a_revision_that_is_not_surely_ours_is_not_moved(older: Ledger, there: list[str]) -> None:
    """Somebody has written his over it or beside it: what the ledger's tables are at can be told by a person only."""
    with older.session() as session:
        session.connection.exec_driver_sql("DELETE FROM alembic_version")
        for revision in there:
            session.connection.exec_driver_sql(f"INSERT INTO alembic_version VALUES ('{revision}')")
    with pytest.raises(SchemaUnfit, match="let the table penstock_revision hold the one that `penstock migrate` said"):
        migrate(_url(older))
    with older.session() as session:
        assert inspect(session.connection).has_table("alembic_version")
        session.connection.exec_driver_sql("CREATE TABLE penstock_revision AS SELECT '0008' AS version_num")
    migrate(_url(older))
    with older.session() as session:
        check_schema(session)
        left = session.connection.exec_driver_sql("SELECT version_num FROM alembic_version ORDER BY 1").scalars()
        assert list(left) == there


def _url(ledger: Ledger) -> str:
    return str(ledger.url.render_as_string(hide_password=False))


def _upgrade(ledger: Ledger, service: Path) -> None:
    config = Config()
    config.set_main_option("script_location", str(service))
    config.set_main_option("path_separator", "os")
    with ledger.session() as session, session.transaction():
        config.attributes["connection"] = session.connection
        command.upgrade(config, "head")


def _head(service: Path) -> str | None:
    return ScriptDirectory(str(service)).get_current_head()


def _shared(session: Session) -> str | None:
    """As Alembic reads it where nobody has named another table, and as older releases do."""
    assert inspect(session.connection).has_table("alembic_version")
    return MigrationContext.configure(session.connection).get_current_revision()
