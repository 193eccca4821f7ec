"""What a client has in hand when its job was accepted."""

from dataclasses import dataclass

from penstock.producers.client import Durability


@dataclass(frozen=True, slots=True)
class Receipt:
    """A job was accepted, and survives what `durable` says. A duplicate has the id of the first one."""

    id: str
    durable: Durability
    duplicate: bool
