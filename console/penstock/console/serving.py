"""Starting a gateway: whatever would stop it later is refused here, in one line."""

import ipaddress
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import structlog

from penstock.console import logs
from penstock.console.broker import checked_broker_url
from penstock.console.embedded import prepared, say_embedded
from penstock.console.exits import bad_input
from penstock.console.modules import loaded
from penstock.console.printing import print_json
from penstock.console.settings import ConsoleSettings, keyring_of
from penstock.console.surroundings import check_log_level, check_port
from penstock.ledger.api_keys import usable_keys
from penstock.ledger.database import Ledger
from penstock.ledger.failpoints import warn_if_armed
from penstock.producers.status_server import StatusServer
from penstock.schemas import Keyring
from penstock.schemas.documents import clear_schema
from penstock.schemas.sensitive import Seals
from penstock.workers import Registry
from penstock.workers.entry import Entry, Read

try:
    from penstock.producers.gateway.app import document_of
    from penstock.producers.gateway.catalogue import Catalogue, KnownType
    from penstock.producers.gateway.gateway import Gateway
    from penstock.producers.gateway.server import serve
    from penstock.producers.gateway.settings import GatewaySettings
except ModuleNotFoundError as error:
    raise bad_input(f"{error.name} is not installed: pip install 'penstock[gateway]'") from None

LOOPBACK = ("localhost", "127.0.0.1", "::1")
# Dramatiq's own form of a payload.
ACTOR_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {"args": {"type": "array"}, "kwargs": {"type": "object"}},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """What the command line says."""

    modules: tuple[str, ...]
    host: str
    port: int
    metrics_port: int | None
    with_auth: bool
    grace_seconds: float


def run_gateway(options: ServeOptions) -> None:
    """Serve until it is told to stop."""
    settings = GatewaySettings()
    checked_broker_url(settings.broker_url)
    if settings.accept_into_broker and not settings.has_broker:
        raise bad_input("PENSTOCK_ACCEPT_INTO_BROKER needs a broker: set PENSTOCK_BROKER_URL to amqp://…")
    check_log_level(settings.log_level)
    if options.metrics_port is not None and options.metrics_port == options.port:
        raise bad_input(f"--metrics-port {options.port}: jobs come in there; give another port, or 0 for beside them")
    check_port(settings.metrics_host, options.metrics_port)
    registry = loaded(options.modules, database_url=settings.database_url)
    keyring = keyring_of(ConsoleSettings().keyring)
    registry.require_keyring(keyring)
    catalogue = catalogue_of(registry, keyring=keyring)
    _check_provider(settings)
    is_public = not is_loopback(options.host)
    if is_public and not options.with_auth:
        raise bad_input(f"--host {options.host}: with --no-auth a gateway listens on loopback only: 127.0.0.1")
    with _listening(options.host, options.port) as listener:
        ledger = prepared(settings.database_url)
        say_embedded(ledger)
        logs.configure(settings.log_level)
        log = structlog.get_logger()
        warn_if_armed(log)
        if options.with_auth and settings.jwks_url is None:
            _warn_without_keys(ledger, log=log)
        gateway = Gateway(settings, catalogue, asks_credentials=options.with_auth, log=log)
        with _status(gateway, settings.metrics_host, options.metrics_port, log=log):
            serve(
                gateway,
                listener,
                grace_seconds=options.grace_seconds,
                with_metrics=options.metrics_port is None,
                log=log,
            )
    log.info("gateway stopped")


def _status(gateway: Gateway, host: str, port: int | None, *, log: Any) -> AbstractContextManager[object]:
    """A port of their own for those who run the gateway: it answers also when there is no room for one more client."""
    if port is None:
        return nullcontext()
    registry, judge = gateway.metrics.registry, gateway.health.judge_from_outside
    return StatusServer(address=(host, port), registry=registry, judge=judge, log=log)


def print_openapi(modules: tuple[str, ...]) -> None:
    """The OpenAPI document of a gateway with these modules."""
    print_json(document_of(catalogue_of(loaded(modules, database_url=GatewaySettings().database_url))))


def catalogue_of(registry: Registry, *, keyring: Keyring | None = None) -> Catalogue:
    """What the handlers take."""
    return Catalogue(_known_types(registry), keyring=keyring)


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect there, by every address that the name has."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise bad_input(f"--host {host}: {error.strerror}; give an address of this machine") from None
    return all(ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback for *_, address in found)


def _check_provider(settings: GatewaySettings) -> None:
    """The three settings of an OpenID provider belong together, and its keys must not be forged on their way."""
    given = (settings.jwks_url, settings.jwt_issuer, settings.jwt_audience)
    if any(given) and not all(given):
        raise bad_input("PENSTOCK_JWKS_URL, PENSTOCK_JWT_ISSUER and PENSTOCK_JWT_AUDIENCE belong together: set all")
    address = urlsplit(settings.jwks_url or "https://")
    if address.scheme != "https" and (address.scheme, address.hostname) not in {("http", name) for name in LOOPBACK}:
        raise bad_input("PENSTOCK_JWKS_URL must be an https:// URL")


def _warn_without_keys(ledger: Ledger, *, log: Any) -> None:
    """No reason to stay away: a key that is made while it runs is good within seconds."""
    with ledger.session() as session:
        if not usable_keys(session):
            log.warning("nobody has credentials yet: run `penstock keys create`, or set PENSTOCK_JWKS_URL")


def _known_types(registry: Registry) -> Iterator[KnownType]:
    for entry in registry:
        yield KnownType(contract=entry.contract, schema=_schema(entry), read=_clear(entry.read))
        for version, older in entry.older():  # its schema went with its release
            yield KnownType(contract=replace(entry.contract, version=version), schema={}, read=_clear(older.read))


def _clear(read: Read) -> Callable[[bytes], object]:
    """Clients send sensitive fields in the clear; they are sealed before anything else is done with them."""
    return lambda body: read(body, Seals(None, takes_clear=True))


def _schema(entry: Entry) -> Mapping[str, Any]:
    return ACTOR_SCHEMA if entry.job_class is None else clear_schema(entry.job_class.model_json_schema())


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens: a taken port is said here, not after the gateway has started."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        text = str(error.strerror).partition(" (")[0]
        raise bad_input(f"--port {port}: cannot listen on {host}: {text}; give another one, or 0 for any") from None
