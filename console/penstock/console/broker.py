"""The broker that the environment names."""

from penstock.console.exits import bad_input
from penstock.producers.client.endpoint import Endpoint

LOCAL = "local"


def checked_broker_url(url: str) -> str:
    """`local` or a readable AMQP URL; refused here, before anything connects, and without the URL in the text."""
    if url != LOCAL:
        try:
            Endpoint.read(url, name="penstock")
        except ValueError as error:
            raise bad_input(f"PENSTOCK_BROKER_URL: {error}; or `local` to run without a broker") from None
    return url
