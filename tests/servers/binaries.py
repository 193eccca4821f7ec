"""Where the programs of the servers are, when they are installed."""

import shutil
from pathlib import Path

POSTGRES_FOLDERS = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql*/bin",
    "/usr/local/opt/postgresql*/bin",
    "/usr/local/pgsql/bin",
)
RABBITMQ_FOLDERS = (
    "/usr/lib/rabbitmq/bin",
    "/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin",
    "/opt/rabbitmq/sbin",
    "/opt/homebrew/opt/rabbitmq/sbin",
    "/usr/local/opt/rabbitmq/sbin",
)


def postgres_folder() -> Path | None:
    """The folder of `initdb` and `postgres`, of the newest version installed."""
    return _folder_with(("initdb", "postgres"), POSTGRES_FOLDERS)


def rabbitmq_folder() -> Path | None:
    """The folder of the inner `rabbitmq-server` script; the one on Debian's PATH is a wrapper that changes the user."""
    if shutil.which("erl") is None or epmd_program() is None:
        return None
    return _folder_with(("rabbitmq-server", "rabbitmqctl"), RABBITMQ_FOLDERS)


def epmd_program() -> str | None:
    """Erlang's port mapper."""
    found = shutil.which("epmd")
    return found or next((str(path) for path in Path("/usr/lib/erlang").glob("erts-*/bin/epmd")), None)


def redis_program() -> str | None:
    """Redis, or Valkey, which answers the same."""
    return shutil.which("redis-server") or shutil.which("valkey-server")


def _folder_with(programs: tuple[str, ...], patterns: tuple[str, ...]) -> Path | None:
    for pattern in patterns:
        folders = sorted(Path("/").glob(pattern.lstrip("/")), key=_version, reverse=True)
        for folder in folders:
            if all((folder / program).exists() for program in programs):
                return folder
    on_path = [shutil.which(program) for program in programs]
    return Path(on_path[0]).resolve().parent if on_path[0] and all(on_path) else None


def _version(folder: Path) -> list[int]:
    digits = "".join(letter if letter.isdigit() else " " for letter in str(folder))
    return [int(number) for number in digits.split()]
