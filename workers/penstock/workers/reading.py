"""What a delivery becomes: an offer to the ledger, or something to quarantine. Decides, does nothing."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from penstock.ledger.admission import Offer
from penstock.ledger.quarantine import Unreadable
from penstock.ledger.retention import MEMORY, oldest_remembered_id
from penstock.ledger.state import Reason, State
from penstock.schemas import UnreadableMessage
from penstock.schemas.message import read_message

if TYPE_CHECKING:
    from penstock.workers.consumption import Delivery
    from penstock.workers.registry import Registry

# A type or version that this worker does not know waits this long for one that does.
UNKNOWN_DELAY_SECONDS = 30.0
FLOOR_SECONDS = 60.0
UNREADABLE_HEADERS = "headers hold what cannot be read: a time before 1970 or after 9999, or too many tables in tables"


class Reader:
    """Reads deliveries against a registry."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._floor_until = 0.0
        self._floor = ""

    def read(self, delivery: Delivery) -> Offer | Unreadable:
        """An offer in the state that the job should get, or the reason why it cannot be read."""
        properties = delivery.properties
        if properties is None:
            return Unreadable(delivery.queue, UNREADABLE_HEADERS, delivery.body)
        try:
            message = read_message(
                message_id=properties.message_id,
                type=properties.type,
                content_type=properties.content_type,
                correlation_id=properties.correlation_id,
                app_id=properties.app_id,
                headers=properties.headers,
                body=delivery.body,
                reply_to=properties.reply_to,
            )
        except UnreadableMessage as error:
            return Unreadable(delivery.queue, str(error), delivery.body, properties.message_id, properties.type)
        known_only = message.id < self._oldest_id()
        entry = self._registry.find(message.type, message.version)
        if entry is None:
            known_type = self._registry.knows_type(message.type)
            return Offer(
                message,
                delivery.queue,
                State.AVAILABLE,
                Reason.UNKNOWN_VERSION if known_type else Reason.UNKNOWN_TYPE,
                delay_seconds=UNKNOWN_DELAY_SECONDS,
                known_only=known_only,
            )
        contract = entry.contract
        state = State.EXECUTING
        if message.due_at is not None and message.due_at > datetime.now(UTC):
            state = State.SCHEDULED
        return Offer(
            message,
            contract.queue,
            state,
            None,
            contract.guarantee == "at_most_once",
            contract.unique_for,
            0.0,
            known_only,
            contract.key_type,
        )

    def _oldest_id(self) -> str:
        now = time.monotonic()
        if now > self._floor_until:
            self._floor_until = now + FLOOR_SECONDS
            self._floor = oldest_remembered_id(datetime.now(UTC) - MEMORY)
        return self._floor
