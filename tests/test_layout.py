"""The house stands as drawn: one wheel, seven rooms in one namespace, imports that only go down, a light client."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
ROOMS = ("schemas", "ledger", "producers", "workers", "notifications", "pipelines", "console")
HEAVY = (
    "alembic",
    "dramatiq",
    "fastapi",
    "msgspec",
    "prometheus_client",
    "psycopg",
    "redis",
    "rich",
    "sqlalchemy",
    "typer",
    "uvicorn",
)
# of the gateway, migrations, sealed fields, tests; or what is imported by accident, with a name too many
NOT_FOR_A_WORKER = (
    "alembic",
    "cryptography",
    "dramatiq.brokers.rabbitmq",
    "fastapi",
    "httpx",
    "jwt",
    "limits",
    "mako",
    "msgspec",
    "multiprocessing",
    "pytest",
    "redis",
    "sqlalchemy.ext",
    "sqlalchemy.orm",
    "unittest",
    "uvicorn",
    "uvloop",
)
RUN_SECONDS_MAX = 300

ENQUEUE_ON_SQLITE = """
import sqlite3
from penstock.producers.outbox import DDL, enqueue
from penstock.schemas import Job

class AddRow(Job, type="demo.add_row"):
    n: int

connection = sqlite3.connect("service.db")
connection.executescript(DDL["sqlite"])
enqueue(connection, AddRow(n=1))
connection.commit()
print(connection.execute("SELECT type, payload FROM penstock_outbox").fetchall())
"""

RELAY_WITHOUT_THE_ENGINE = """
import sys
for name in ("alembic", "dramatiq", "redis"):
    sys.modules[name] = None
from penstock.console import failures, outbox_lists, relaying
from penstock.console.main import app
app(["relay"])
"""

IMPORT_A_WORKER = """
import json, sys
import penstock.console.main, penstock.console.running, penstock.workers
from penstock.ledger.database import Ledger
Ledger("postgresql://localhost").engine(purpose="engine")
print(json.dumps(sorted(sys.modules)))
"""

IMPORT_THE_CLIENT = """
import json, sys
from penstock.producers import Producer
print(json.dumps({"modules": sorted(sys.modules), "module": Producer.__module__}))
"""


def run(*command: str | Path, folder: Path = REPOSITORY) -> str:
    """Run a command and return what it printed; its whole output is the failure."""
    done = subprocess.run(
        command,
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=RUN_SECONDS_MAX,
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as a release would have it."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, REPOSITORY)
    (wheel,) = folder.glob("penstock-*.whl")
    return wheel


@pytest.fixture(scope="module")
def empty_python(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Path:
    """A Python with the bare wheel, what the wheel itself depends on, and nothing else."""
    folder = tmp_path_factory.mktemp("venv")
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    python = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python)
    run(*pip, "install", "--quiet", "--constraint", REPOSITORY / "constraints.txt", wheel)
    return python


def test_no_room_claims_the_shared_namespace_for_itself() -> None:
    """An `__init__.py` directly in `penstock/` would hide the six other rooms."""
    assert [str(path) for path in REPOSITORY.glob("*/penstock/__init__.py")] == []


def test_every_room_is_a_typed_package_in_the_wheel(wheel: Path) -> None:
    """And nothing else is in it: no tests, no folder of the repository."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    missing = {f"penstock/{room}/{name}" for room in ROOMS for name in ("__init__.py", "py.typed")} - set(names)
    strangers = [name for name in names if name.split("/")[0] != "penstock" and ".dist-info/" not in name]
    assert missing == set()
    assert strangers == []
    assert "penstock/__init__.py" not in names


def test_the_wheel_holds_every_file_of_the_rooms(wheel: Path) -> None:
    """Migrations and templates are read at run time; a release without them would fail at the user's."""
    listed = run("git", "ls-files", *[f"{room}/penstock" for room in ROOMS]).splitlines()
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    present = [path for path in listed if (REPOSITORY / path).exists()]
    assert [path for path in present if path.partition("/")[2] not in names] == []


def test_a_service_that_only_publishes_installs_and_imports_nothing_heavy(empty_python: Path, tmp_path: Path) -> None:
    """The client costs a handful of small libraries; the engine's stay away."""
    seen = json.loads(run(empty_python, "-I", "-c", IMPORT_THE_CLIENT, folder=tmp_path))
    top_level = {name.split(".")[0] for name in seen["modules"]}
    assert seen["module"].startswith("penstock.producers")
    assert top_level.isdisjoint(HEAVY)
    found = run(
        empty_python,
        "-I",
        "-c",
        f"import importlib.util as u; print([name for name in {HEAVY!r} if u.find_spec(name)])",
        folder=tmp_path,
    )
    assert found.strip() == "[]"


def test_enqueueing_needs_nothing_but_the_library_of_the_connection(empty_python: Path, tmp_path: Path) -> None:
    """No SQLAlchemy, no psycopg: a service brings its own."""
    printed = run(empty_python, "-I", "-c", ENQUEUE_ON_SQLITE, folder=tmp_path)
    assert printed == "[('demo.add_row', b'{\"n\":1}')]\n"


def test_the_relay_runs_without_the_engine(tmp_path: Path) -> None:
    """`penstock[outbox]` has no Dramatiq, no Alembic and no Redis; here the command gets as far as its settings."""
    done = subprocess.run(
        [sys.executable, "-c", RELAY_WITHOUT_THE_ENGINE],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")},
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, "PENSTOCK_OUTBOX_DATABASE_URL" in done.stderr) == (2, True), done.stderr


def test_a_worker_imports_nothing_that_only_others_need(tmp_path: Path) -> None:
    """All its processes have in memory what their supervisor has imported before it forks them."""
    seen = json.loads(run(sys.executable, "-c", IMPORT_A_WORKER, folder=tmp_path))
    assert {"dramatiq", "pika", "psycopg", "sqlalchemy"} <= set(seen)
    assert set(seen) & set(NOT_FOR_A_WORKER) == set()


def test_imports_only_go_down_the_house() -> None:
    """The contracts of import-linter hold."""
    program = shutil.which("lint-imports", path=sysconfig.get_path("scripts"))
    assert program is not None, "import-linter is not installed; run make check once"
    run(program, "--no-cache")
