"""What the gateway needs to know, from the environment or `.env`."""

from penstock.ledger.settings import LedgerSettings


class GatewaySettings(LedgerSettings):
    """`PENSTOCK_DATABASE_URL` is the ledger; `PENSTOCK_BROKER_URL` tells why a job waits."""

    broker_url: str = "local"
    log_level: str = "INFO"

    @property
    def has_broker(self) -> bool:
        return self.broker_url != "local"
