"""The image's build stage, run step by step on this machine: what it copies, installs and starts."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.deploy.files import DEPLOY, REPOSITORY

from penstock.schemas.version import __version__

RUN_SECONDS_MAX = 600
DOCKERFILE = (DEPLOY / "docker" / "Dockerfile").read_text(encoding="utf-8")
BUILD_STAGE = DOCKERFILE.split("\nFROM ")[1]
HEAVY = ("sqlalchemy", "dramatiq", "prometheus_client", "psycopg", "typer", "redis")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the image gets as /opt/penstock."""
    folder = tmp_path_factory.mktemp("image")
    copy_build_context(folder / "build")
    subprocess.run([sys.executable, "-m", "venv", folder / "python"], check=True)
    for command in commands(folder):
        done = subprocess.run(
            ["bash", "-euc", command],
            cwd=folder / "build",
            env={"PATH": f"{folder / 'python' / 'bin'}:/usr/bin:/bin", "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
            check=False,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=RUN_SECONDS_MAX,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return folder / "opt"


def commands(folder: Path) -> list[str]:
    """The RUN steps, with the image's folders below `folder`."""
    joined = re.sub(r"\\\n", " ", BUILD_STAGE)
    steps = re.findall(r"^RUN (.*)$", joined, re.MULTILINE)
    return [step.replace("/opt/penstock", f"{folder}/opt").replace("/wheels", f"{folder}/wheels") for step in steps]


def copy_build_context(folder: Path) -> None:
    """What .dockerignore lets through."""
    folder.mkdir()
    for line in (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines():
        if line.startswith("!"):
            source = REPOSITORY / line[1:]
            copy = shutil.copytree if source.is_dir() else shutil.copy
            copy(source, folder / line[1:])


def test_the_build_stage_installs_a_command_that_runs(installed: Path) -> None:
    """With every extra, and without pip in it."""
    said = subprocess.run([installed / "bin" / "penstock", "--version"], check=True, capture_output=True, text=True)
    assert __version__ in said.stdout
    seen = f"import importlib.util as u; print([it for it in {(*HEAVY, 'pip')!r} if not u.find_spec(it)])"
    missing = subprocess.run([installed / "bin" / "python", "-c", seen], check=True, capture_output=True, text=True)
    assert missing.stdout.strip() == "['pip']"


def test_what_is_installed_are_the_versions_that_were_tested(installed: Path) -> None:
    """No dependency has slipped past the constraints."""
    pins = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
    tested = {name(pin.split("==")[0]) for pin in pins if "==" in pin}
    [packages] = (installed / "lib").glob("python3*/site-packages")
    found = {name(it.name.split("-")[0]) for it in packages.glob("*.dist-info")} - {"penstock"}
    assert found <= tested


def name(package: str) -> str:
    """As PyPI compares names."""
    return re.sub(r"[-_.]+", "-", package).lower()
