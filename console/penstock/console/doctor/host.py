"""What a worker needs of this host."""

import resource
import shutil
from pathlib import Path

from penstock.console.doctor.finding import Finding, ok, problem, warning
from penstock.console.exits import Failure
from penstock.console.surroundings import make_state_dir

FREE_BYTES_WARN = 500 * 1024 * 1024
FILES_WARN = 1024


def check(state_dir: Path) -> list[Finding]:
    """The state folder, and how many files may be open."""
    return [_state_dir(state_dir), _files()]


def _state_dir(folder: Path) -> Finding:
    existed = folder.exists()
    try:
        make_state_dir(folder)
    except Failure as failure:
        said, _, remedy = str(failure).partition("; ")
        return problem("state folder", said, remedy)
    free = shutil.disk_usage(folder).free
    if not existed:
        folder.rmdir()
    detail = f"{folder} can be written, {free // 2**20} MiB free"
    if free < FREE_BYTES_WARN:
        return warning("state folder", detail, "make room, or point PENSTOCK_STATE_DIR elsewhere")
    return ok("state folder", detail)


def _files() -> Finding:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < FILES_WARN:
        return warning("open files", f"at most {soft} for each process", f"raise it: ulimit -n {max(FILES_WARN, 4096)}")
    return ok("open files", f"at most {'any number' if soft == resource.RLIM_INFINITY else soft} for each process")
