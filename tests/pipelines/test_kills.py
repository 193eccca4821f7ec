"""Worker processes are killed in the middle of a load."""

import json
import signal
from pathlib import Path

import pytest
from tests.pipelines.tables import Tables
from tests.waiting import until
from tests.workers.pool import START_SECONDS_MAX, RunningPool

from penstock.pipelines import LoadCsv
from penstock.producers.ledger_producer import LedgerProducer

ROWS = 3000
KILL_AT_ROWS = (300, 1200, 2100)
END_SECONDS_MAX = 60.0

pytestmark = pytest.mark.faults


def test_no_row_is_lost_or_doubled_when_workers_are_killed(
    folder: Path, ledger_url: str, tables: Tables, tmp_path: Path
) -> None:
    """Also by the chunks' own account: none of them ever found its rows there already."""
    (folder / "birds.csv").write_text("n,name\n" + "".join(f"{n},bird {n}\n" for n in range(ROWS)))
    job = LoadCsv(path="birds.csv", table="birds", columns={"n": "integer", "name": "text"}, chunk_rows=10)
    with RunningPool(
        database_url=ledger_url,
        folder=tmp_path,
        modules=["penstock.pipelines.handlers"],
        processes=2,
        threads=2,
    ) as pool:
        LedgerProducer(ledger_url).publish(job, key="birds")
        until(lambda: "birds_rejected" in tables.names(), timeout_seconds=END_SECONDS_MAX, what="the plan")
        for deaths, rows in enumerate(KILL_AT_ROWS, start=1):
            until(lambda rows=rows: loaded(tables) >= rows, timeout_seconds=END_SECONDS_MAX, what=f"{rows} rows")  # type: ignore[misc]
            pool.signal(signal.SIGKILL, until(pool.workers, timeout_seconds=START_SECONDS_MAX, what="a worker")[0])
            # else the next signal could go to the one that is dying
            until(lambda deaths=deaths: killed(pool) == deaths, what=f"{deaths} deaths")  # type: ignore[misc]
        until(lambda: not unfinished(tables), timeout_seconds=END_SECONDS_MAX, what="the end of all jobs")
        assert killed(pool) == len(KILL_AT_ROWS)
    assert tables.read("SELECT count(*), count(DISTINCT n), min(n), max(n) FROM birds") == [(ROWS, ROWS, 0, ROWS - 1)]
    results = tables.read("SELECT result FROM jobs WHERE type = 'pipelines.load_chunk' AND state = 'completed'")
    accounts = [json.loads(bytes(result)) for (result,) in results]
    assert sum(account["loaded"] for account in accounts) == ROWS
    assert {account["there_before"] for account in accounts} == {0}


def killed(pool: RunningPool) -> int:
    """How many deaths by our hand the pool has seen."""
    return len(pool.logged("process died", how="SIGKILL"))


def loaded(tables: Tables) -> int:
    """How many rows are in the table."""
    return int(tables.read("SELECT count(*) FROM birds")[0][0])


def unfinished(tables: Tables) -> int:
    """How many jobs are still to be done."""
    return int(tables.read("SELECT count(*) FROM jobs WHERE state NOT IN ('completed', 'dead')")[0][0])
