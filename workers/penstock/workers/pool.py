"""What makes a pool: its name, size, queues and where its parts meet."""

from dataclasses import dataclass
from pathlib import Path

from penstock.schemas import Keyring
from penstock.workers.errors import WorkerConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """A named group of worker processes. Raises `WorkerConfigurationError` for impossible sizes."""

    name: str
    modules: tuple[str, ...]
    database_url: str
    broker_url: str = "local"
    processes: int = 1
    threads: int = 8
    queues: tuple[str, ...] | None = None
    state_dir: Path = Path(".penstock")
    grace_seconds: float = 25.0
    with_dispatcher: bool = True
    metrics_host: str = "127.0.0.1"
    metrics_port: int | None = None
    keyring: Keyring | None = None

    def __post_init__(self) -> None:
        for option, value, most in (("--processes", self.processes, 256), ("--threads", self.threads, 1000)):
            if not 1 <= value <= most:
                raise WorkerConfigurationError(f"{option} {value}: must be between 1 and {most}")

    @property
    def has_broker(self) -> bool:
        return self.broker_url != "local"

    @property
    def boards_dir(self) -> Path:
        return self.state_dir / "boards" / self.name

    def lock_path(self, process_id: str) -> Path:
        """Locked for as long as this process lives."""
        return self.state_dir / "locks" / f"{process_id}.lock"
