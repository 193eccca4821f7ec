"""Installing a server with apt-get, where we are root on a Debian or Ubuntu: on a CI machine, in a container."""

import os
import shutil
import subprocess

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


def _apt_get(*words: str) -> None:
    # RUNLEVEL=1 keeps the package from starting its service
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    command = ["apt-get", "-qq", *words]
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        env=environment,
        stdin=subprocess.DEVNULL,
        timeout=INSTALL_SECONDS_MAX,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()[-500:]}")
