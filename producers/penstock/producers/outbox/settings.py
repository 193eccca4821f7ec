"""What a relay needs to know about its surroundings, from the environment or `.env`."""

from pydantic_settings import BaseSettings, SettingsConfigDict


class RelaySettings(BaseSettings):
    """`PENSTOCK_OUTBOX_DATABASE_URL` is the service's own database; `PENSTOCK_BROKER_URL` is `amqp://…`."""

    model_config = SettingsConfigDict(env_prefix="PENSTOCK_", env_file=".env", extra="ignore")

    outbox_database_url: str | None = None
    broker_url: str | None = None
    metrics_host: str = "127.0.0.1"
    log_level: str = "INFO"
