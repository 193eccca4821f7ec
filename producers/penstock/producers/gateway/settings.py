"""What the gateway needs to know, from the environment or `.env`."""

from pydantic import Field

from penstock.ledger.settings import LedgerSettings


class GatewaySettings(LedgerSettings):
    """`PENSTOCK_DATABASE_URL` is the ledger; `PENSTOCK_BROKER_URL` tells why a job waits, and with
    `PENSTOCK_ACCEPT_INTO_BROKER` takes jobs while the ledger does not answer.

    `PENSTOCK_JWKS_URL`, `…_JWT_ISSUER` and `…_JWT_AUDIENCE` belong together. `PENSTOCK_GATEWAYS` is how many gateways
    share a rate limit when Redis cannot count for them; unknown is one, or two where there is a Redis.
    """

    broker_url: str = "local"
    accept_into_broker: bool = False
    redis_url: str | None = None
    metrics_host: str = "127.0.0.1"
    log_level: str = "INFO"
    jwks_url: str | None = None
    jwt_issuer: str | None = None
    jwt_audience: str | None = None
    jwt_tenant_claim: str = "tenant"
    rate_per_minute: int | None = Field(default=None, ge=1)
    gateways: int | None = Field(default=None, ge=1)

    @property
    def has_broker(self) -> bool:
        return self.broker_url != "local"

    @property
    def sharing(self) -> int:
        return self.gateways or (1 if self.redis_url is None else 2)
