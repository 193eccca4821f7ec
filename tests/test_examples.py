"""The publishers in other languages run against the real servers."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.console.command import HANDLERS, REPOSITORY, Command, Starter
from tests.console.conftest import folder, full, penstock, running
from tests.console.test_serve import url_of
from tests.servers import debian
from tests.waiting import until
from tests.workers.amqp import consumers

from penstock.ledger.database import Session
from penstock.ledger.jobs import list_jobs, show_job
from penstock.workers import topology

__all__ = ["folder", "full", "penstock", "running"]

RUN_SECONDS_MAX = 120


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """The publisher for Node.js with what npm installs for it."""
    if shutil.which("npm") is None and debian.unusable() is None:
        debian.install("npm")
    here = tmp_path / "node"
    shutil.copytree(REPOSITORY / "examples" / "node", here, ignore=shutil.ignore_patterns("node_modules"))
    done = run("npm", "ci", "--no-audit", "--no-fund", folder=here)
    assert done.returncode == 0, f"Node.js and npm are needed for the examples: {done.stderr}"
    return here / "publish.mjs"


def run(*command: str | Path, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program as somebody would at a prompt."""
    return subprocess.run(
        command,
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=RUN_SECONDS_MAX,
        env={**os.environ, **environment},
    )


def test_a_job_from_nodejs_runs_once_under_its_key(
    node: Path, running: Starter, full: Session, broker_url: str, tmp_path: Path
) -> None:
    """Its receipt is the id of the job, or of the duplicate that was absorbed."""
    worker = running("worker", "--jobs", HANDLERS, "--metrics-port", "0")
    until(lambda: consumers(broker_url, "demo"), timeout_seconds=30, what="a consumer")
    published = [run("node", node, "demo.add", '{"n": 1}', "row-1", folder=tmp_path, AMQP_URL=broker_url) for _ in "12"]
    assert [(done.returncode, done.stderr) for done in published] == [(0, ""), (0, "")]
    first, second = (done.stdout.strip() for done in published)

    def completed() -> bool:
        return all((show_job(full, job_id) or {}).get("state") == "completed" for job_id in (first, second))

    until(completed, timeout_seconds=30, what="the job to complete, known under both ids")
    [job] = list_jobs(full, type="demo.add")
    assert (job["app_id"], job["dedup_key"]) == ("penstock-example-node", "row-1")
    assert worker.stop() == 0


def test_nodejs_is_told_when_nobody_takes_the_type(node: Path, full: Session, broker_url: str, tmp_path: Path) -> None:
    """And has no receipt."""
    topology.declare(broker_url, {}, name="test")
    done = run("node", node, "demo.nobody", "{}", folder=tmp_path, AMQP_URL=broker_url)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: no queue is bound for type demo.nobody\n"


def test_a_job_from_the_shell_runs_once_under_its_key(
    running: Starter, penstock: Command, full: Session, tmp_path: Path
) -> None:
    """With nothing but curl; the API key stands on no command line."""
    if shutil.which("curl") is None and debian.unusable() is None:
        debian.install("curl")
    key = penstock("keys", "create", "shell", "--scope", "publish:demo.*", "--json").document["key"]
    gateway = url_of(running("serve", "--jobs", HANDLERS, "--port", "0"))
    script = REPOSITORY / "examples" / "shell" / "publish.sh"

    def publish(payload: str) -> subprocess.CompletedProcess[str]:
        words = (script, "demo.add", payload, "row-2")
        return run(*words, folder=tmp_path, PENSTOCK_ADDRESS=gateway, PENSTOCK_KEY=key)

    first, second = (json.loads(publish('{"n": 2, "m": 3}').stdout) for _ in "12")
    assert (first["id"], first["durable"], second["duplicate"]) == (second["id"], "ledger", True)
    refused = publish('{"n": "two"}')
    assert refused.returncode != 0
    assert "payload" in refused.stdout
    assert [job["id"] for job in list_jobs(full, type="demo.add")] == [first["id"]]
