"""Worker processes and their heartbeats."""

from dataclasses import dataclass

from penstock.ledger.database import Session, Statement


@dataclass(frozen=True, slots=True)
class Process:
    """A worker process as the ledger knows it. `lock_path` is the OS file lock that it holds on one host (SQLite)."""

    id: str
    pool: str
    host: str
    pid: int
    lock_path: str | None
    beat: int


def register(session: Session, process: Process) -> None:
    session.run(
        _REGISTER,
        id=process.id,
        pool=process.pool,
        host=process.host,
        pid=process.pid,
        lock_path=process.lock_path,
    )


def beat(session: Session, process_id: str) -> bool:
    """One heartbeat; false if the ledger no longer knows the process: it has been given up and must stop."""
    return session.run(_BEAT, id=process_id).rowcount == 1


def deregister(session: Session, process_id: str) -> None:
    session.run(_DEREGISTER, id=process_id)


def list_processes(session: Session) -> list[Process]:
    return [Process(row.id, row.pool, row.host, row.pid, row.lock_path, row.beat) for row in session.run(_LIST)]


def orphans(session: Session) -> list[str]:
    """Process ids under which jobs execute although no such process is registered."""
    return [row.process_id for row in session.run(_ORPHANS)]


_REGISTER = Statement(
    lambda dialect: (
        f"""
        INSERT INTO processes (id, pool, host, pid, lock_path, beat, started_at, beaten_at)
        VALUES (:id, :pool, :host, :pid, :lock_path, 0, {dialect.now}, {dialect.now})
    """
    )
)

_BEAT = Statement(lambda dialect: f"UPDATE processes SET beat = beat + 1, beaten_at = {dialect.now} WHERE id = :id")

_DEREGISTER = Statement(lambda _: "DELETE FROM processes WHERE id = :id")

_LIST = Statement(lambda _: "SELECT CAST(id AS text) AS id, pool, host, pid, lock_path, beat FROM processes")

_ORPHANS = Statement(
    lambda _: (
        """
        SELECT DISTINCT CAST(jobs.process_id AS text) AS process_id FROM jobs
        WHERE jobs.state = 'executing' AND jobs.process_id IS NOT NULL
            AND NOT EXISTS (SELECT 1 FROM processes WHERE processes.id = jobs.process_id)
    """
    )
)
