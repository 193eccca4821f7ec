"""The replier tells publishers who gave a `reply_to` what became of their jobs: a receipt, and the result at the end.

A duplicate hears of the first job. Replies are owed by rows that were written with the job; here they are sent,
confirmed and crossed out, in that order, so that each comes at least once. Nothing waits for it.
"""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC
from typing import TYPE_CHECKING, Any

import pika
import pika.exceptions

from penstock.ledger.failpoints import Failpoint, reach
from penstock.ledger.leases import give_lease_back, take_lease
from penstock.ledger.replies import Owed, owed_replies, receipts_sent, replies_done, replies_lag
from penstock.producers.client.endpoint import Endpoint
from penstock.producers.outbox.verdicts import Pauses
from penstock.schemas.message import DIRECT_REPLY_TO
from penstock.schemas.reply import REPLIES
from penstock.workers.loop import Loop

if TYPE_CHECKING:
    from pika.adapters.blocking_connection import BlockingChannel

    from penstock.ledger.database import Ledger, Session
    from penstock.workers.caretaker_metrics import CaretakerMetrics

BATCH_REPLIES = 200
LOOK_SECONDS = 0.2
# Of its time it spends at most one part in so many on looking, however many replies are owed at some later time.
SHARE_MAX = 10
HEALTHY_SECONDS = 30.0
MEASURE_SECONDS = 5.0
LEASE_NAME = "replier"
LEASE_SECONDS = 5.0
PERSISTENT = 2
RECEIPT, RESULT = REPLIES


@dataclass(slots=True)
class _Told:
    """What became of a batch of replies."""

    kinds: list[str] = field(default_factory=list)
    receipted: list[Owed] = field(default_factory=list)
    done: list[Owed] = field(default_factory=list)
    refusing: set[str] = field(default_factory=set)
    failed: int = 0
    unheard: int = 0


class Replier(Loop):
    """The lease only saves saying things twice."""

    def __init__(self, ledger: Ledger, *, broker_url: str, metrics: CaretakerMetrics, log: Any) -> None:
        super().__init__(ledger, name="replier", healthy_seconds=HEALTHY_SECONDS, log=log)
        self._metrics = metrics
        self._endpoint = Endpoint.read(broker_url, name="penstock-replier")
        self._id = str(uuid.uuid4())
        self._connection: pika.BlockingConnection | None = None
        self._confirming: BlockingChannel | None = None
        self._pauses = Pauses()
        self._measured_at, self._measure_seconds = -1e9, MEASURE_SECONDS

    def _pass(self, session: Session) -> float:
        """Send what is owed; returns for how long to wait."""
        self._measure(session)
        started = time.monotonic()
        owed = owed_replies(session, limit=BATCH_REPLIES, without=self._pauses.running(now=started))
        looked_seconds = time.monotonic() - started
        if not owed:
            self._disconnect()
            return max(LOOK_SECONDS, SHARE_MAX * looked_seconds)
        if not take_lease(session, name=LEASE_NAME, holder=self._id, seconds=LEASE_SECONDS):
            return LEASE_SECONDS / 5
        reach(Failpoint.REPLIES_SELECTED)
        self._send(session, owed)
        reach(Failpoint.REPLIES_MARKED)
        return 0.0 if len(owed) == BATCH_REPLIES else LOOK_SECONDS

    def _measure(self, session: Session) -> None:
        started = time.monotonic()
        if started - self._measured_at > self._measure_seconds:
            self._metrics.replies_owed(*replies_lag(session))
            self._measured_at = time.monotonic()
            self._measure_seconds = max(MEASURE_SECONDS, SHARE_MAX * (self._measured_at - started))

    def _send(self, session: Session, owed: list[Owed]) -> None:
        told = _Told()
        try:
            for reply in owed:
                if reply.reply_to not in told.refusing:
                    self._tell(reply, told)
        except (pika.exceptions.AMQPError, OSError):
            told.failed += 1
            raise
        finally:
            self._metrics.replied(told.kinds, failed=told.failed, unheard=told.unheard)
            receipts_sent(session, told.receipted)
            replies_done(session, told.done)

    def _tell(self, reply: Owed, told: _Told) -> None:
        """Say what can be said, and note what became of it. A queue that takes nothing holds up no other."""
        said: list[str] = []
        try:
            for kind in kinds_of(reply):
                self._publish(reply, kind)
                said.append(kind)
            reach(Failpoint.REPLY_CONFIRMED)
        except pika.exceptions.UnroutableError:  # whoever asked is gone
            told.unheard += 1
            told.done.append(reply)
        except (pika.exceptions.NackError, pika.exceptions.ChannelClosedByBroker) as error:
            self._leave_alone(reply, told, error)
            if said:
                told.receipted.append(reply)
        else:
            self._pauses.end([reply.reply_to])
            (told.done if reply.state is None or reply.has_ended else told.receipted).append(reply)
        told.kinds += [kind.removeprefix("penstock.") for kind in said]

    def _leave_alone(self, reply: Owed, told: _Told, error: Exception) -> None:
        told.failed += 1
        told.refusing.add(reply.reply_to)
        seconds = self._pauses.begin(reply.reply_to, now=time.monotonic())
        self._log.warning(
            "a queue takes no replies; the others go on",
            queue=reply.reply_to,
            paused_seconds=seconds,
            error=type(error).__name__,
        )

    def _publish(self, reply: Owed, kind: str) -> None:
        # Direct reply-to knows no queue, so that `mandatory` would return what it delivers.
        mandatory = not reply.reply_to.startswith(DIRECT_REPLY_TO)
        self._channel().basic_publish(
            "", reply.reply_to, body_of(reply, kind), _properties(reply, kind), mandatory=mandatory
        )

    def _channel(self) -> BlockingChannel:
        if self._connection is None:
            self._connection = pika.BlockingConnection(self._endpoint.parameters)
            self._confirming = None
        if self._confirming is None or not self._confirming.is_open:
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


def kinds_of(reply: Owed) -> list[str]:
    """What is owed and can be told now; nothing of a job that has left the ledger."""
    if reply.state is None:
        return []
    return [*([RECEIPT] if reply.receipt_sent_at is None else []), *([RESULT] if reply.has_ended else [])]


def body_of(reply: Owed, kind: str) -> bytes:
    """What a publisher is told."""
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
    if kind == RESULT:
        said["finished_at"] = None if reply.finished_at is None else reply.finished_at.astimezone(UTC)
        said["result"] = None if reply.result is None else _readable(bytes(reply.result))
    return REPLIES[kind](**said).model_dump_json().encode()


def _readable(result: bytes) -> Any:
    try:
        return json.loads(result)
    except ValueError:
        return result.decode("utf-8", "backslashreplace")


def _properties(reply: Owed, kind: str) -> pika.BasicProperties:
    return pika.BasicProperties(
        type=kind,
        content_type="application/json",
        app_id="penstock",
        correlation_id=reply.correlation_id or reply.id,
        delivery_mode=PERSISTENT,
    )
