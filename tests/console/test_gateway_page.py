"""What the page of the gateway tells a newcomer to type is typed here, to the letter."""

import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.console.command import Command, Running, Starter
from tests.console.test_readme import blocks
from tests.console.test_serve import url_of

from penstock.ledger.database import Session
from penstock.ledger.jobs import list_jobs

PAGE = "docs/gateway.md"
HANDLER = """
from penstock.schemas import Job
from penstock.workers import handler

{job}

@handler(AddRow)
def add_row(job, ctx):
    pass
"""


@pytest.fixture
def module(folder: Path) -> str:
    """The job of the page, with a handler."""
    [job] = blocks(PAGE, "python", after="# Jobs over HTTP")
    (folder / "page_jobs.py").write_text(HANDLER.format(job=job))
    return "page_jobs"


def typed(block: str, gateway: Running, **variables: str) -> list[str]:
    """What the commands of a block print, a string for each."""
    assert shutil.which("curl"), "curl is not installed; install the package `curl`"
    script = block.replace("localhost:8080", url_of(gateway).removeprefix("http://")).replace("\\\n", "")
    answers = []
    for line in script.splitlines():
        done = subprocess.run(
            ["bash", "-euc", line], env=os.environ | variables, check=True, capture_output=True, text=True, timeout=30
        )
        answers.append(done.stdout)
    return answers


def test_every_request_of_the_page_is_answered_as_it_says(running: Starter, session: Session, module: str) -> None:
    """Without credentials, as for a first look."""
    gateway = running("serve", "--jobs", module, "--port", "0", "--no-auth")
    submit, batch, look = blocks(PAGE, "sh", after="## Submit")[:3]
    [receipt] = map(json.loads, typed(submit, gateway))
    assert (receipt["key"], receipt["durable"], receipt["duplicate"]) == ("row-1", "ledger", False)
    assert json.loads(typed(submit, gateway)[0])["duplicate"] is True
    [document] = map(json.loads, typed(batch, gateway))
    assert (document["accepted"], document["refused"]) == (2, 0)
    shown, waited, listed, cancelled, events, kind = typed(look, gateway, ID=receipt["id"])
    assert json.loads(shown)["id"] == json.loads(waited)["id"] == receipt["id"]
    assert len(json.loads(listed)["jobs"]) == 3
    assert json.loads(cancelled)["outcome"] == "cancelled"
    assert '"state":"cancelled"' in events
    assert json.loads(kind)["versions"][0]["payload_schema"]["required"] == ["n"]
    assert {job["dedup_key"] for job in list_jobs(session)} == {"row-1", "row-2", None}


def test_a_key_is_made_and_shown_as_the_page_says(
    penstock: Command, running: Starter, session: Session, module: str
) -> None:
    """And is good for what it says."""
    [create] = blocks(PAGE, "console", after="## Credentials")
    made: Any = penstock(*shlex.split(create.removeprefix("$ penstock "), comments=True), "--json").document
    gateway = running("serve", "--jobs", module, "--port", "0")
    [block] = blocks(PAGE, "sh", after="## Credentials")
    assert "demo.add_row" in typed(block, gateway, KEY=made["key"])[0]
    assert "unauthenticated" in typed(block, gateway, KEY="penstock_wrong")[0]
