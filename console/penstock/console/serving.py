"""Starting a gateway: whatever would stop it later is refused here, in one line."""

import ipaddress
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import structlog

from penstock.console.broker import checked_broker_url
from penstock.console.embedded import prepared, say_embedded
from penstock.console.exits import bad_input
from penstock.console.modules import loaded
from penstock.console.surroundings import check_log_level
from penstock.workers import Registry, logs
from penstock.workers.entry import Entry

try:
    from penstock.producers.gateway.catalogue import Catalogue, KnownType
    from penstock.producers.gateway.gateway import Gateway
    from penstock.producers.gateway.guard import Guard
    from penstock.producers.gateway.server import serve
    from penstock.producers.gateway.settings import GatewaySettings
except ModuleNotFoundError as error:
    raise bad_input(f"{error.name} is not installed: pip install 'penstock[gateway]'") from None

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
    grace_seconds: float


def run_gateway(options: ServeOptions) -> None:
    """Serve until it is told to stop."""
    settings = GatewaySettings()
    checked_broker_url(settings.broker_url)
    check_log_level(settings.log_level)
    catalogue = catalogue_of(loaded(options.modules, database_url=settings.database_url))
    if not is_loopback(options.host):
        raise bad_input(f"--host {options.host}: a gateway without credentials listens on loopback only: 127.0.0.1")
    with _listening(options.host, options.port) as listener:
        say_embedded(prepared(settings.database_url))
        logs.configure(settings.log_level)
        log = structlog.get_logger()
        gateway = Gateway(settings, catalogue, guard=Guard(), log=log)
        serve(gateway, listener, grace_seconds=options.grace_seconds, log=log)
    log.info("gateway stopped")


def catalogue_of(registry: Registry) -> Catalogue:
    """What the handlers take."""
    return Catalogue(_known_types(registry))


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect there, by every address that the name has."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise bad_input(f"--host {host}: {error.strerror}; give an address of this machine") from None
    return all(ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback for *_, address in found)


def _known_types(registry: Registry) -> Iterator[KnownType]:
    for entry in registry:
        yield KnownType(contract=entry.contract, schema=_schema(entry), read=entry.read)
        for version, older in entry.older():  # its schema went with its release
            yield KnownType(contract=replace(entry.contract, version=version), schema={}, read=older.read)


def _schema(entry: Entry) -> Mapping[str, Any]:
    return ACTOR_SCHEMA if entry.job_class is None else entry.job_class.model_json_schema()


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens: a taken port is said here, not after the gateway has started."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        text = str(error.strerror).partition(" (")[0]
        raise bad_input(f"--port {port}: cannot listen on {host}: {text}; give another one, or 0 for any") from None
