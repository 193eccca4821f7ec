"""What a worker needs to know about its surroundings, from the environment or `.env`."""

from pathlib import Path

from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class WorkerSettings(BaseSettings):
    """`PENSTOCK_BROKER_URL` is `local` or `amqp://…`; `PENSTOCK_STATE_DIR` holds boards and metrics of pools.

    `PENSTOCK_GRACE_SECONDS` is how long a stopping worker lets running handlers finish. `PENSTOCK_KEYRING` has the
    keys of sensitive fields.
    """

    model_config = SettingsConfigDict(env_prefix="PENSTOCK_", env_file=".env", extra="ignore")

    database_url: str = "sqlite:///penstock.db"
    broker_url: str = "local"
    redis_url: str | None = None
    state_dir: Path = Path(".penstock")
    grace_seconds: float = 25.0
    metrics_host: str = "127.0.0.1"
    log_level: str = "INFO"
    keyring: SecretStr | None = None

    @property
    def has_broker(self) -> bool:
        return self.broker_url != "local"
