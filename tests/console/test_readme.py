"""What the README and the page of the wire tell a newcomer to type is typed here, to the letter."""

import re
import shlex
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from tests.console.command import REPOSITORY, Command, Starter
from tests.waiting import until
from tests.workers.amqp import consumers

from penstock.ledger.database import Session

FIRST_JOB = "The first job"
ELLIPSIS = "amqp://…"


def blocks(page: str, language: str, *, after: str) -> list[str]:
    """The code blocks of a page, from a heading on."""
    _, _, rest = (REPOSITORY / page).read_text().partition(after)
    return re.findall(rf"```{language}\n(.*?)```", rest, re.DOTALL)


def typed_in_readme() -> list[list[str]]:
    """The commands of the first job, as words, without `penstock`."""
    block = blocks("README.md", "console", after=f"## {FIRST_JOB}")[0]
    lines = [line.removeprefix("$ ") for line in block.splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines]


def test_the_first_job_runs_as_it_stands_there(penstock: Command, running: Starter, folder: Path) -> None:
    """Embedded, from an empty folder: migrate, worker, publish, look."""
    (folder / "my_jobs.py").write_text(blocks("README.md", "python", after=f"## {FIRST_JOB}")[0])
    migrate, worker, publish, look = typed_in_readme()
    assert penstock(*migrate).code == 0
    started = running(*worker, "--metrics-port", "0")
    assert penstock(*publish).code == 0
    assert penstock(*publish).code == 0
    until(lambda: "completed" in penstock(*look).out, timeout_seconds=30, what="the job to complete")
    assert started.stop() == 0
    with closing(sqlite3.connect("penstock.db")) as database:
        assert database.execute("SELECT n FROM numbers").fetchall() == [(1,)]


def test_who_asks_for_replies_as_it_stands_there_hears_them(
    running: Starter, full: Session, broker_url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice: the second one is a duplicate, and hears of the first job."""
    snippet, *_ = blocks("docs/wire.md", "python", after="## Replies")
    (folder / "my_jobs.py").write_text(blocks("README.md", "python", after=f"## {FIRST_JOB}")[0])
    monkeypatch.syspath_prepend(folder)
    running("worker", "--jobs", "my_jobs", "--metrics-port", "0")
    until(lambda: consumers(broker_url, "demo"), timeout_seconds=30, what="a consumer")
    heard = []
    for _ in range(2):
        names: dict[str, Any] = {}
        exec(snippet.replace(ELLIPSIS, broker_url), names)
        heard.append(names["heard"])
    monkeypatch.delitem(sys.modules, "my_jobs")
    (_, first), (_, again) = heard
    assert (first.state, first.duplicate) == (again.state, not again.duplicate) == ("completed", False)
    assert (again.job_id, again.asked_id != again.job_id) == (first.job_id, True)


def test_other_services_publish_as_it_stands_there(
    penstock: Command, running: Starter, full: Session, broker_url: str, folder: Path
) -> None:
    """With the client, and with plain pika; each key once."""
    job, client, *_ = blocks("README.md", "python", after=f"## {FIRST_JOB}")
    wire, *_ = blocks("docs/wire.md", "python", after="## A publisher in any language")
    (folder / "my_jobs.py").write_text(job)
    running("worker", "--jobs", "my_jobs", "--metrics-port", "0")
    until(lambda: consumers(broker_url, "demo"), timeout_seconds=30, what="a consumer")
    names: dict[str, Any] = {}
    exec(job, names)
    exec(client.replace(ELLIPSIS, broker_url), names)
    exec(wire.replace(ELLIPSIS, broker_url), {})
    assert names["receipt"].durability == "broker"
    query = text("SELECT count(*) FROM jobs WHERE state = 'completed'")
    until(lambda: full.connection.execute(query).scalar() == 10_001, timeout_seconds=60, what="all to complete")
    rows = full.connection.execute(text("SELECT count(*), count(DISTINCT n) FROM numbers")).one()
    assert tuple(rows) == (10_001, 10_000)
    assert penstock("quarantine", "list").out.strip() == "nothing is in quarantine"
