"""Every hot statement finds its rows by an index, whatever the planner knows about a table that has grown."""

import json
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event
from tests.ledger.samples import PROCESS, TOKEN, accepted, an_offer, claimed, deliver, undone, waiting_offer

from penstock.ledger import claims, dispatches, effects, jobs, processes, rescue, retention
from penstock.ledger.admission import admit
from penstock.ledger.completion import complete_within, hold_within, is_completed_under
from penstock.ledger.database import Ledger, Session, Statement
from penstock.ledger.dead_letters import Selection, replay_dead
from penstock.ledger.settlement import Failure, Outcome, settle
from penstock.ledger.state import Reason, State
from penstock.ledger.transitions import Death

FINISHED = 100_000
# An index that holds only what is unfinished or dead may be walked over as a whole.
SMALL_INDEXES = {"jobs_due", "jobs_dispatched", "jobs_executing", "jobs_suspect", "jobs_dead"}
GROWING_TABLES = {"jobs", "dedup_keys", "aliases", "attempts", "effects"}

# As the driver declares them.
TYPES: dict[type, str] = {int: "bigint", float: "double precision", bool: "boolean", bytes: "bytea"}

FILL = f"""
    INSERT INTO jobs (id, type, version, queue, state, payload, due_at, created_at, finished_at, token, attempts)
    SELECT CAST(lpad(to_hex(n), 8, '0') || '-0000-7000-8000-' || lpad(to_hex(n), 12, '0') AS uuid), 'demo.job', 1,
        'demo', 'completed', '{{}}', now(), now(), now(), n, 1
    FROM generate_series(1, {FINISHED}) AS n;
    INSERT INTO dedup_keys (type, key, job_id, payload_hash, expires_at)
    SELECT type, 'key ' || token, id, '', now() + interval '1 day' FROM jobs;
    INSERT INTO aliases (id, job_id, created_at) SELECT id, id, now() FROM jobs;
    INSERT INTO attempts (job_id, attempt, kind, created_at) SELECT id, 1, 'failed', now() FROM jobs;
    INSERT INTO effects (job_id, step, key, state, intended_at) SELECT id, 'mail', '', 'done', now() FROM jobs;
"""

BACKLOG = """
    UPDATE jobs SET state = 'available', due_at = due_at - token * interval '1 millisecond', token = NULL
    WHERE token <= 20000
"""


def admissions(session: Session) -> None:
    """New, known, keyed, taken over, aliased, conflicting and put off."""
    first = claimed(session, key="k")
    deliver(session, *[an_offer() for _ in range(100)])
    deliver(session, *[an_offer(key=f"k{n}") for n in range(100)])
    deliver(session, an_offer(id=first.id, key="k"), an_offer(key="k"), an_offer(b"{}", key="k"))
    waiting = accepted(session, key="w")
    deliver(session, waiting_offer(id=waiting, key="w"))
    deliver(session, an_offer(id=waiting, key="w"))
    cancelled = accepted(session, key="c")
    jobs.cancel_job(session, cancelled, actor="ada")
    deliver(session, an_offer(key="c"))


def settlements(session: Session) -> None:
    """Plain ones and others, landed and fenced."""
    ids = [claimed(session).id for _ in range(8)]
    settle(session, [Outcome(job_id, TOKEN, State.COMPLETED) for job_id in ids[:3]])
    failure = Failure("failed", "E", "m", "t", "f")
    others = [Outcome(job_id, TOKEN, State.RETRYABLE, failure=failure, follow_ups=(waiting_offer(),)) for job_id in ids]
    settle(session, others)
    settle(session, [Outcome(ids[0], TOKEN, State.COMPLETED), Outcome(ids[1], TOKEN, State.DEAD, Reason.PERMANENT)])
    job_id = claimed(session).id
    effects.intend(session, job_id=job_id, token=TOKEN, step="mail", key="k")
    effects.record_outcome(session, job_id=job_id, token=TOKEN, step="mail", state=effects.EffectState.DONE)
    complete_within(session.connection, job_id=job_id, token=TOKEN)
    is_completed_under(session, job_id=job_id, token=TOKEN)


def claiming(session: Session) -> None:
    """Straight from the ledger, and what a process asks about itself."""
    admit(session, [waiting_offer() for _ in range(20)])
    for suspects in (False, True):
        claims.claim_due(session, queues=["demo"], limit=9, token=TOKEN, process_id=PROCESS, suspects=suspects)
    claims.read_back(session, token=TOKEN, process_id=PROCESS)
    held = claims.executing_under(session, PROCESS)
    claims.has_suspects(session, ["demo"])
    claims.next_due_seconds(session, ["demo", "other"])
    jobs.cancel_requested(session, held)
    processes.orphans(session)


def dispatching(session: Session) -> None:
    """The whole round of a dispatcher."""
    admit(session, [waiting_offer() for _ in range(20)])
    due = dispatches.select_due(session, queue="demo", limit=10)
    dispatches.mark_dispatched(session, due)
    dispatches.count_dispatched(session, "demo")
    dispatches.queues_to_look_at(session)
    dispatches.due_queues(session)
    dispatches.dispatched_queues(session)
    dispatches.suspect_lost(session, queue="demo", older_seconds=1)
    dispatches.suspect_overdue(session)
    dispatches.unmark_all(session)
    jobs.oldest_due_seconds(session)


def rescuing(session: Session) -> None:
    """Every way to lose a process."""
    running = [claimed(session).id for _ in range(4)]
    rescue.rescue_crashed(
        session, process_id=PROCESS, running=running[:2], death=Death.KILLED, alone=False, how="SIGKILL"
    )
    rescue.rescue_interrupted(session, process_id=PROCESS, running=running[:2])
    rescue.rescue_lost(session, process_id=PROCESS)


def steering(session: Session) -> None:
    """What people do to one job, and what retention does to many."""
    job_id = accepted(session)
    jobs.show_job(session, job_id)
    jobs.hurry_job(session, job_id, actor="ada")
    jobs.cancel_job(session, claimed(session).id, actor="ada")
    dead = claimed(session).id
    settle(session, [Outcome(dead, TOKEN, State.DEAD, Reason.PERMANENT)])
    replay_dead(session, selection=Selection(ids=(dead,)), actor="ada")
    retention.prune_jobs(session, memory=timedelta(0))


ACTS: list[Callable[[Session], None]] = [admissions, settlements, claiming, dispatching, rescuing, steering]


@pytest.mark.parametrize("statistics", ["none", "of an empty table", "up to date"])
def test_hot_statements_use_an_index(postgres: Ledger, statistics: str) -> None:
    """With the values at hand, and as a generic plan that a prepared statement may keep."""
    with postgres.session() as session:
        fill(session, statistics)
        seen: dict[str, Any] = {}
        with undone(session), recorded(session, seen):
            for act in ACTS:
                act(session)
        walks = [
            f"{kind} plan walks over {walk}:\n{statement}"
            for statement, parameters in seen.items()
            for kind, plan in plans(session, statement, parameters)
            for walk in walks_in(plan)
        ]
    assert len(seen) > 40
    assert not walks, "\n".join(walks)


@pytest.mark.parametrize("statistics", ["none", "of an empty table", "up to date"])
def test_a_batch_is_found_by_its_ids(postgres: Ledger, statistics: str) -> None:
    """Not by a walk over everything that executes or waits, however little that is by the statistics."""
    with postgres.session() as session:
        fill(session, statistics)
        seen: dict[str, Any] = {}
        with undone(session), recorded(session, seen):
            admissions(session)
            settlements(session)
            jobs.cancel_requested(session, [(claimed(session).id, TOKEN)])
        walks = [
            f"{kind} plan walks over {walk}:\n{statement}"
            for statement, parameters in seen.items()
            for kind, plan in plans(session, statement, parameters)
            for walk in walks_in(plan, small_indexes=set())
        ]
    assert len(seen) > 20
    assert not walks, "\n".join(walks)


def test_a_backlog_is_not_read_to_take_a_few_from_it(postgres: Ledger) -> None:
    """A worker that claims ten of twenty thousand due jobs reads ten."""
    with postgres.session() as session:
        session.connection.exec_driver_sql(FILL)
        session.connection.exec_driver_sql(BACKLOG)
        session.connection.exec_driver_sql("ANALYZE")
        seen: dict[str, Any] = {}
        with undone(session), recorded(session, seen):
            claims.claim_due(session, queues=["demo", "other"], limit=10, token=TOKEN, process_id=PROCESS)
            claims.next_due_seconds(session, ["demo", "other"])
            claims.has_suspects(session, ["demo", "other"])
            dispatches.select_due(session, queue="demo", limit=10)
        for statement, parameters in seen.items():
            with undone(session):
                found = session.connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters)
                [(plan,)] = found.all()
            read = [node["Actual Rows"] for node in nodes(plan[0]["Plan"]) if node.get("Relation Name") == "jobs"]
            assert read
            assert max(read) <= 20, f"{read} rows read by:\n{statement}"


def test_the_check_finds_a_statement_that_walks_over_a_table(postgres: Ledger) -> None:
    """A check that can find nothing proves nothing."""
    with postgres.session() as session:
        session.connection.exec_driver_sql(FILL)
        for statement, walk in (
            ("SELECT 1 FROM jobs WHERE app_id = %(x)s", "jobs"),
            ("SELECT 1 FROM dedup_keys WHERE job_id = %(x)s", "dedup_keys"),
            ("UPDATE jobs SET error = '' WHERE fingerprint = %(x)s", "jobs"),
        ):
            found = [walks_in(plan) for _, plan in plans(session, statement, {"x": PROCESS})]
            assert [[table for table, _ in each] for each in found] == [[walk], [walk]]


def test_what_looks_every_second_does_not_read_the_backlog(postgres: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty queues with one job each, and one with twenty thousand, of which the first ten are counted."""
    monkeypatch.setattr(dispatches, "DUE_COUNT_MAX", 10)
    with postgres.session() as session:
        session.connection.exec_driver_sql(FILL)
        session.connection.exec_driver_sql("UPDATE jobs SET queue = 'q' || token WHERE mod(token, 1000) = 7")
        session.connection.exec_driver_sql(BACKLOG)
        session.connection.exec_driver_sql("ANALYZE")
        seen: dict[str, Any] = {}
        with undone(session), recorded(session, seen):
            found = {row.queue: row.jobs for row in session.run(Statement(dispatches._due_queues))}
            dispatches.dispatched_queues(session)
            assert len(dispatches.queues_to_look_at(session)) == 21
            jobs.oldest_due_seconds(session)
        assert found["demo"] == 10
        assert len(found) == 21
        for query, parameters in seen.items():
            assert rows_read(session, query, parameters) < 200, query


@pytest.mark.parametrize("guarded", [True, False], ids=["as it is", "without its setting"])
def test_a_completing_handler_takes_the_index_while_the_table_is_small(postgres: Ledger, *, guarded: bool) -> None:
    """A plan is made then, and kept while the table grows; without the setting of our functions it would walk."""
    engine = postgres.engine(purpose="handlers")
    with postgres.session() as session, engine.connect() as connection:
        session.connection.exec_driver_sql("ANALYZE")
        if not guarded:
            session.connection.exec_driver_sql("ALTER FUNCTION penstock_complete RESET ALL")
            session.connection.exec_driver_sql("ALTER FUNCTION penstock_hold RESET ALL")
        for _ in range(12):
            job_id = claimed(session).id
            hold_within(connection, job_id=job_id, token=TOKEN)
            complete_within(connection, job_id=job_id, token=TOKEN)
            walks = connection.exec_driver_sql(
                "SELECT seq_scan FROM pg_stat_xact_user_tables WHERE relname = 'jobs'"
            ).scalar_one()
            connection.commit()
    engine.dispose()
    assert (walks == 0) is guarded


def test_pruning_reads_no_more_than_it_deletes(postgres: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten of a hundred thousand keys that have expired, and ten of as many jobs."""
    monkeypatch.setattr(retention, "PRUNE_BATCH_JOBS", 10)
    with postgres.session() as session:
        session.connection.exec_driver_sql(FILL)
        session.connection.exec_driver_sql("UPDATE dedup_keys SET expires_at = now() - interval '1 day'")
        session.connection.exec_driver_sql("VACUUM ANALYZE")
        seen: dict[str, Any] = {}
        with undone(session), recorded(session, seen):
            assert retention.prune_keys(session) == 10
            assert retention.prune_jobs(session, memory=timedelta(0)) == 10
        for query, parameters in seen.items():
            with undone(session):
                assert rows_read(session, query, parameters) < 200, query


def rows_read(session: Session, statement: str, parameters: Any) -> int:
    """How many rows of `jobs` a statement takes in its hands, whether it uses them or not."""
    explained = session.connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters)
    [(plan,)] = explained.all()
    return sum(
        (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
        for node in nodes(plan[0]["Plan"])
        if node.get("Relation Name") == "jobs"
    )


def fill(session: Session, statistics: str) -> None:
    """A table that has grown; the planner knows of it what it knew at that time."""
    if statistics == "of an empty table":
        session.connection.exec_driver_sql("ANALYZE")
    session.connection.exec_driver_sql(FILL)
    if statistics == "up to date":
        session.connection.exec_driver_sql("ANALYZE")


@contextmanager
def recorded(session: Session, seen: dict[str, Any]) -> Iterator[None]:
    """Remember every statement on growing tables, with the parameters of its last use."""

    def remember(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        if re.search(rf"\b({'|'.join(GROWING_TABLES)})\b", statement):
            seen[statement] = parameters

    event.listen(session.connection.engine, "before_cursor_execute", remember)
    event.listen(session.connection, "before_cursor_execute", remember)
    yield
    event.remove(session.connection, "before_cursor_execute", remember)
    event.remove(session.connection.engine, "before_cursor_execute", remember)


def plans(session: Session, statement: str, parameters: Any) -> Iterator[tuple[str, Any]]:
    """The plan for these values, and the one for any."""
    [(custom,)] = session.connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", parameters).all()
    yield "custom", custom if isinstance(custom, list) else json.loads(custom)
    names = sorted(parameters, key=len, reverse=True)
    text = statement
    for number, name in enumerate(names, start=1):
        text = text.replace(f"%({name})s", f"${number}")
    values = ", ".join(literal(parameters[name]) for name in names)
    cursor = session.connection.connection.cursor()
    cursor.execute("SET plan_cache_mode = force_generic_plan")
    types = ", ".join(TYPES.get(type(parameters[name]), "unknown") for name in names)
    cursor.execute(f"PREPARE hot{f'({types})' if types else ''} AS {text}".replace("%%", "%"))
    cursor.execute(f"EXPLAIN (FORMAT JSON) EXECUTE hot({values})" if names else "EXPLAIN (FORMAT JSON) EXECUTE hot")
    [(generic,)] = cursor.fetchall()
    cursor.execute("DEALLOCATE hot")
    cursor.execute("RESET plan_cache_mode")
    cursor.close()
    yield "generic", generic if isinstance(generic, list) else json.loads(generic)


def literal(value: Any) -> str:
    """A value as SQL text, of a type that the statement chooses."""
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        return f"'\\x{value.hex()}'"
    return "'" + str(value).replace("'", "''") + "'"


def walks_in(plan: Any, *, small_indexes: Collection[str] = SMALL_INDEXES) -> list[tuple[str, str]]:
    """(table, node) of every node that reads a growing table otherwise than by a condition on an index."""
    found = []
    for node in nodes(plan[0]["Plan"]):
        if node.get("Relation Name") not in GROWING_TABLES or node["Node Type"] in ("ModifyTable", "LockRows"):
            continue
        reads = node["Plans"] if node["Node Type"] == "Bitmap Heap Scan" else [node]
        by_index = all(
            read.get("Index Name") in small_indexes or "Index Cond" in read
            for each in reads
            for read in nodes(each)
            if read["Node Type"] not in ("BitmapOr", "BitmapAnd")
        )
        if not by_index:
            found.append((node["Relation Name"], node["Node Type"]))
    return found


def nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A plan node and all below it."""
    yield node
    for child in node.get("Plans", ()):
        yield from nodes(child)
