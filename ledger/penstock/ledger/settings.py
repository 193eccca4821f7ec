"""Where the ledger is."""

from pydantic_settings import BaseSettings, SettingsConfigDict


class LedgerSettings(BaseSettings):
    """`PENSTOCK_DATABASE_URL`, from the environment or `.env`; the default is an SQLite file in this folder."""

    model_config = SettingsConfigDict(env_prefix="PENSTOCK_", env_file=".env", extra="ignore")

    database_url: str = "sqlite:///penstock.db"
