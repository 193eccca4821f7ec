"""The replier tells publishers who gave a `reply_to` what became of their jobs: a receipt, and the result at the end.

A duplicate hears of the first job. Replies are owed by rows that were written with the job; here they are sent,
confirmed and crossed out, in that order, so that each comes at least once. Nothing waits for it.
"""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from datetime import UTC
from typing import TYPE_CHECKING, Any

import pika
import pika.exceptions

from penstock.ledger.leases import give_lease_back, take_lease
from penstock.ledger.replies import Owed, owed_replies, receipts_sent, replies_done, replies_refused
from penstock.producers.client.endpoint import Endpoint
from penstock.workers.loop import Loop

if TYPE_CHECKING:
    from pika.adapters.blocking_connection import BlockingChannel

    from penstock.ledger.database import Ledger, Session

BATCH_REPLIES = 200
LOOK_SECONDS = 0.2
# Of its time it spends at most one part in so many on looking, however many replies are owed at some later time.
SHARE_MAX = 10
HEALTHY_SECONDS = 30.0
LEASE_NAME = "replier"
LEASE_SECONDS = 5.0
PERSISTENT = 2
DIRECT_PREFIX = "amq.rabbitmq.reply-to"


class Replier(Loop):
    """The lease only saves saying things twice."""

    def __init__(self, ledger: Ledger, *, broker_url: str, log: Any) -> None:
        super().__init__(ledger, name="replier", healthy_seconds=HEALTHY_SECONDS, log=log)
        self._endpoint = Endpoint.read(broker_url, name="penstock-replier")
        self._id = str(uuid.uuid4())
        self._connection: pika.BlockingConnection | None = None

    def _pass(self, session: Session) -> float:
        """Send what is owed; returns for how long to wait."""
        started = time.monotonic()
        owed = owed_replies(session, limit=BATCH_REPLIES)
        looked_seconds = time.monotonic() - started
        if not owed:
            self._disconnect()
            return max(LOOK_SECONDS, SHARE_MAX * looked_seconds)
        if not take_lease(session, name=LEASE_NAME, holder=self._id, seconds=LEASE_SECONDS):
            return LEASE_SECONDS / 5
        self._send(session, owed)
        return 0.0 if len(owed) == BATCH_REPLIES else LOOK_SECONDS

    def _send(self, session: Session, owed: list[Owed]) -> None:
        receipted: list[Owed] = []
        refused: list[Owed] = []
        done: list[Owed] = []
        try:
            for reply in owed:
                try:
                    self._say(reply)
                except pika.exceptions.UnroutableError:
                    done.append(reply)  # whoever asked is gone
                except pika.exceptions.NackError:
                    refused.append(reply)
                else:
                    (done if reply.state is None or reply.has_ended else receipted).append(reply)
        finally:
            receipts_sent(session, receipted)
            replies_refused(session, refused)
            replies_done(session, done)

    def _say(self, reply: Owed) -> None:
        """Publish what is owed and can be told now, confirmed; nothing for a job that has left the ledger."""
        if reply.state is None:
            return
        kinds = [] if reply.receipt_sent_at is not None else ["receipt"]
        kinds += ["result"] if reply.has_ended else []
        # Direct reply-to knows no queue, so that `mandatory` would return what it delivers.
        mandatory = not reply.reply_to.startswith(DIRECT_PREFIX)
        for kind in kinds:
            self._channel().basic_publish(
                "", reply.reply_to, body_of(reply, kind), _properties(reply, kind), mandatory=mandatory
            )

    def _channel(self) -> BlockingChannel:
        if self._connection is None:
            self._connection = pika.BlockingConnection(self._endpoint.parameters)
            self._confirming = self._connection.channel()
            self._confirming.confirm_delivery()
        return self._confirming

    def _disconnect(self) -> None:
        """Nothing to say: an idle connection would need its heartbeats."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _upset(self) -> None:
        with contextlib.suppress(Exception):
            self._disconnect()

    def _sign_off(self, session: Session) -> None:
        self._upset()
        give_lease_back(session, name=LEASE_NAME, holder=self._id)


def body_of(reply: Owed, kind: str) -> bytes:
    """What a publisher is told. `job_id` is the job that runs; for a duplicate it is another than `asked_id`."""
    said: dict[str, Any] = {
        "job_id": reply.job_id,
        "asked_id": reply.id,
        "duplicate": reply.job_id != reply.id,
        "type": reply.type,
        "durability": "ledger",
        "state": reply.state,
        "reason": reply.reason,
        "attempts": reply.attempts,
    }
    if kind == "result":
        said["finished_at"] = None if reply.finished_at is None else reply.finished_at.astimezone(UTC).isoformat()
        said["result"] = None if reply.result is None else _readable(bytes(reply.result))
    return json.dumps(said, ensure_ascii=False).encode()


def _readable(result: bytes) -> Any:
    try:
        return json.loads(result)
    except ValueError:
        return result.decode("utf-8", "backslashreplace")


def _properties(reply: Owed, kind: str) -> pika.BasicProperties:
    return pika.BasicProperties(
        type=f"penstock.{kind}",
        content_type="application/json",
        app_id="penstock",
        correlation_id=reply.correlation_id or reply.id,
        delivery_mode=PERSISTENT,
    )
