"""The ledger's database: is it there, has it the tables, does a commit survive what it should?"""

from datetime import UTC, datetime

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from penstock.console.doctor import postgres
from penstock.console.doctor.finding import Finding, ok, problem, warning
from penstock.console.opening import is_missing_file, time_of
from penstock.console.rebuilding import waiting_bindings
from penstock.ledger.database import Ledger, LedgerConfigurationError, LedgerUnavailable, Session
from penstock.ledger.durations import span
from penstock.ledger.jobs import oldest_due_seconds
from penstock.ledger.processes import list_processes
from penstock.ledger.revision import SchemaUnfit, check_schema

SKEW_SECONDS_WARN = 1.0
SKEW_SECONDS_MAX = 30.0
WAIT_SECONDS_WARN = 60.0


def check(url: str) -> tuple[list[Finding], dict[str, set[str]]]:
    """The findings, and the job types by queue of the jobs that wait, for the checks of the broker."""
    try:
        ledger = Ledger(url)
        if is_missing_file(ledger):
            remedy = "run `penstock migrate`, or set PENSTOCK_DATABASE_URL"
            return [problem("database", f"there is no file {ledger.url.database}", remedy)], {}
        with ledger.session() as session:
            return _look(session, ledger)
    except LedgerConfigurationError as error:
        return [problem("database", str(error), "set PENSTOCK_DATABASE_URL")], {}
    except LedgerUnavailable as error:
        return [problem("database", str(error), "start it, or correct PENSTOCK_DATABASE_URL")], {}
    except DBAPIError as error:
        said = str(error.orig).partition("\n")[0]
        return [
            problem("database", f"it refused: {said}", "look at the rights of the user in PENSTOCK_DATABASE_URL")
        ], {}


def _look(session: Session, ledger: Ledger) -> tuple[list[Finding], dict[str, set[str]]]:
    if session.dialect.name == "sqlite":
        findings = _sqlite(session, ledger)
    else:
        findings = [ok("database", str(ledger)), *postgres.check(session)]
    findings.append(_clock(session))
    try:
        said = check_schema(session)
    except SchemaUnfit as error:
        wrong, _, remedy = str(error).partition(": ")
        return [*findings, problem("schema", wrong, remedy)], {}
    return [*findings, ok("schema", said), _workers(session)], waiting_bindings(session)


def _sqlite(session: Session, ledger: Ledger) -> list[Finding]:
    version = session.connection.execute(text("SELECT sqlite_version()")).scalar_one()
    return [ok("database", f"{ledger}, SQLite {version}: embedded mode, for one host only")]


def _clock(session: Session) -> Finding:
    """The database decides what is due, but ids and `--due +30s` are made by the clocks of hosts."""
    before = datetime.now(UTC)
    theirs = time_of(session)
    after = datetime.now(UTC)
    skew = (theirs - (before + (after - before) / 2)).total_seconds()
    detail = f"this host and the database are {abs(skew):.3f} s apart"
    remedy = "let both follow the same time servers (NTP)"
    if abs(skew) > SKEW_SECONDS_MAX:
        return problem("clock", detail, remedy)
    return warning("clock", detail, remedy) if abs(skew) > SKEW_SECONDS_WARN else ok("clock", detail)


def _workers(session: Session) -> Finding:
    processes, waited = list_processes(session), oldest_due_seconds(session)
    detail = f"{len(processes)} process{'' if len(processes) == 1 else 'es'} registered"
    if waited > WAIT_SECONDS_WARN:
        remedy = "start `penstock worker` for the queues of these jobs, or look at its log; `penstock jobs list`"
        return warning("workers", f"{detail}; a due job has waited for {span(waited)}", remedy)
    if not processes:
        return warning("workers", detail, "start `penstock worker --jobs MODULE`")
    return ok("workers", detail)
