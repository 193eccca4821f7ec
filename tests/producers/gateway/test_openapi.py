"""The OpenAPI document tells the truth: what it allows is answered as it says, and what it forbids is refused."""

import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest
from tests.producers.gateway.running import CATALOGUE, RunningGateway
from tests.producers.gateway.test_credentials import a_key

from penstock.ledger.database import Ledger
from penstock.producers.gateway.app import document_of
from penstock.producers.gateway.watch import Watch

RUN_SECONDS_MAX = 120


@pytest.mark.parametrize("phase", ["coverage", "fuzzing", "stateful"])
def test_schemathesis_finds_nothing(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, phase: str
) -> None:
    """All its checks, on a bounded number of requests that are the same each time."""
    monkeypatch.setattr(Watch, "until_ended", _no_time)  # nobody runs these jobs
    with Ledger(sqlite_url).session() as session:
        key = a_key(session)
    program = shutil.which("schemathesis", path=sysconfig.get_path("scripts"))
    assert program is not None, "schemathesis is not installed; run make check once"
    with RunningGateway(sqlite_url, asks_credentials=True) as gateway:
        words = ["run", f"http://127.0.0.1:{gateway.port}/v1/openapi.json", "--header", f"Authorization: Bearer {key}"]
        words += ["--phases", phase, "--checks", "all", "--max-examples", "15", "--seed", "20261124"]
        words += ["--exclude-path-regex", "events$"]  # a stream ends with its job
        done = subprocess.run(
            [program, *words],
            cwd=tmp_path,
            check=False,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=RUN_SECONDS_MAX,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "gateway failed" not in "".join(gateway.lines)


async def _no_time(*_: Any, **__: Any) -> None:
    """Waits for nothing."""


def test_the_document_has_each_type_with_its_payload() -> None:
    """A generated client knows what it may send; no gateway needs to run for it."""
    schemas = document_of(CATALOGUE)["components"]["schemas"]
    assert schemas["Submission"]["anyOf"] == [
        {"$ref": f"#/components/schemas/Submission.{name}"}
        for name in ("demo.add_row.v1", "demo.add_row.v2", "mails.once.v1")
    ]
    old, new = schemas["Submission.demo.add_row.v1"], schemas["Submission.demo.add_row.v2"]
    assert old["required"] == ["type", "version", "payload"]
    assert new["required"] == ["type", "payload"]
    assert sorted(new["properties"]["payload"]["properties"]) == ["m", "n", "note"]
    assert new["additionalProperties"] is False


def test_the_running_gateway_has_the_same_document(door: RunningGateway) -> None:
    """But for the credentials, which it does not ask for."""
    served = door.client.get("/v1/openapi.json").json()
    made = document_of(CATALOGUE)
    assert served["paths"] == made["paths"]
    assert "security" in made
    assert "security" not in served
