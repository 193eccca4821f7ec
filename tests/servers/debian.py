"""Installing a server with apt-get, where we are root on a Debian or Ubuntu: on a CI machine, in a container."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

INSTALL_SECONDS_MAX = 600.0


def unusable() -> str | None:
    """Why nothing can be installed here; None when it can."""
    if os.environ.get("PENSTOCK_TEST_INSTALL") == "no":
        return "PENSTOCK_TEST_INSTALL=no forbids it"
    if shutil.which("apt-get") is None:
        return "this is no Debian or Ubuntu"
    return None if os.geteuid() == 0 else "we are not root"


def install(package: str) -> None:
    """Install one package; raises RuntimeError with what apt-get said."""
    _apt_get("update")
    _apt_get("install", "--yes", "--no-install-recommends", "--no-upgrade", package)


def unpack(package: str, folder: Path) -> None:
    """Put the files of one package below `folder`, and nothing into the system; raises RuntimeError.

    For programs that need nothing but a C library, and whose package would start a service.
    """
    _apt_get("update")
    with tempfile.TemporaryDirectory(prefix="penstock-debian-") as downloads:
        _apt_get("-o", "APT::Sandbox::User=root", "download", package, folder=Path(downloads))
        [file] = Path(downloads).glob("*.deb")
        folder.mkdir(parents=True, exist_ok=True)
        _run(["dpkg-deb", "-x", str(file), str(folder)])


def _apt_get(*words: str, folder: Path | None = None) -> None:
    _run(["apt-get", "-qq", *words], folder=folder)


def _run(command: list[str], *, folder: Path | None = None) -> None:
    # RUNLEVEL=1 keeps the package from starting its service
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    done = subprocess.run(
        command,
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
        env=environment,
        stdin=subprocess.DEVNULL,
        timeout=INSTALL_SECONDS_MAX,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()[-500:]}")
