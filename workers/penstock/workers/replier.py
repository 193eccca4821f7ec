"""The replier tells publishers who gave a `reply_to` what became of their jobs: a receipt, and the result at the end.

A duplicate hears of the first job. Replies are owed by rows that were written with the job; here they are sent,
confirmed and crossed out, in that order, so that each comes at least once. Nothing waits for it.
"""

from __future__ import annotations

import json
import time
import uuid
from datetime import UTC
from typing import TYPE_CHECKING, Any

import pika

from penstock.ledger.chore import Chore
from penstock.ledger.failpoints import Failpoint, reach
from penstock.ledger.leases import give_lease_back, take_lease
from penstock.ledger.replies import Owed, owed_replies, receipts_sent, replies_done, replies_lag
from penstock.producers.client import (
    BrokerBlocked,
    BrokerUnavailable,
    InvalidJob,
    Publisher,
    PublishError,
    PublishRefused,
    PublishTimeout,
    Unroutable,
)
from penstock.producers.client.envelope import Envelope
from penstock.producers.client.pauses import Pauses
from penstock.schemas import Message
from penstock.schemas.message import CONTENT_TYPE, DIRECT_REPLY_TO
from penstock.schemas.reply import REPLIES
from penstock.workers.loop import Loop

if TYPE_CHECKING:
    from penstock.ledger.database import Ledger, Session
    from penstock.workers.caretaker_metrics import CaretakerMetrics

BATCH_REPLIES = 200
LOOK_SECONDS = 0.2
# Of its time it spends at most this part on looking, however many replies are owed at some later time, or on counting.
SHARE_MAX = 0.1
HEALTHY_SECONDS = 30.0
MEASURE_SECONDS = 5.0
LEASE_NAME = "replier"
LEASE_SECONDS = 15.0
# A queue that confirms nothing holds up the others for so long once; then it is left alone for a while at a time.
SAY_SECONDS = 5.0
SAY_AGAIN_SECONDS = 1.0
RECEIPT, RESULT = REPLIES
_REFUSALS = (PublishTimeout, PublishRefused)


class Replier(Loop):
    """The lease only saves saying things twice."""

    def __init__(self, ledger: Ledger, *, broker_url: str, metrics: CaretakerMetrics, log: Any) -> None:
        super().__init__(ledger, name="replier", healthy_seconds=HEALTHY_SECONDS, log=log)
        self._metrics = metrics
        self._broker_url = broker_url
        self._publisher = self._open_publisher()
        self._id = str(uuid.uuid4())
        self._pauses = Pauses()
        self._measuring = Chore(share=SHARE_MAX)

    def _pass(self, session: Session) -> float:
        """Send what is owed; returns for how long to wait."""
        if self._measuring.is_due(every_seconds=MEASURE_SECONDS):
            with self._measuring:
                self._metrics.replies_owed(*replies_lag(session))
        started = time.monotonic()
        owed = owed_replies(session, limit=BATCH_REPLIES, without=self._pauses.running(now=started))
        looked_seconds = time.monotonic() - started
        if not owed:
            return max(LOOK_SECONDS, looked_seconds / SHARE_MAX)
        if not take_lease(session, name=LEASE_NAME, holder=self._id, seconds=LEASE_SECONDS):
            return LEASE_SECONDS / 5
        reach(Failpoint.REPLIES_SELECTED)
        # Those whose queue was ill come last, one queue at a time: in a quorum queue that is stuck, the channel is too.
        ill = self._pauses.ill(it.reply_to for it in owed)
        self._send(session, [it for it in owed if it.reply_to not in ill], seconds=SAY_SECONDS)
        self._send(session, [it for it in owed if it.reply_to in ill[:1]], seconds=SAY_AGAIN_SECONDS)
        reach(Failpoint.REPLIES_MARKED)
        return 0.0 if len(owed) == BATCH_REPLIES else LOOK_SECONDS

    def _send(self, session: Session, owed: list[Owed], *, seconds: float) -> None:
        """Publish what can be told now, wait for the confirms, and cross out what was confirmed."""
        if not owed:
            return
        said = [(reply, message) for reply in owed for message in messages_of(reply)]
        batch = self._publisher.submit_many([it for _, it in said], timeout_seconds=seconds).wait()
        reach(Failpoint.REPLIES_CONFIRMED)
        errors = {
            (reply.id, reply.reply_to): error
            for (reply, _), error in zip(said, batch.errors, strict=True)
            if error is not None
        }
        told = [it for it in owed if (it.id, it.reply_to) not in errors]
        unheard = [it for it in owed if isinstance(errors.get((it.id, it.reply_to)), Unroutable | InvalidJob)]
        replies_done(session, [*unheard, *(it for it in told if it.state is None or it.has_ended)])
        receipts_sent(session, [it for it in told if it.state is not None and not it.has_ended])
        kinds = [it.type for (_, it), error in zip(said, batch.errors, strict=True) if error is None]
        self._metrics.replied(
            [kind.removeprefix("penstock.") for kind in kinds], failed=len(errors) - len(unheard), unheard=len(unheard)
        )
        self._pauses.end({it.reply_to for it in told})
        self._leave_alone(errors)
        self._give_up(session, [it for it in owed if is_direct(it) and self._pauses.is_hopeless(it.reply_to)])
        troubles = [it for it in errors.values() if isinstance(it, BrokerUnavailable | BrokerBlocked)]
        if troubles and not told:
            raise troubles[0]

    def _leave_alone(self, errors: dict[tuple[str, str], PublishError]) -> None:
        """Queues that take nothing are asked again later, over another channel; meanwhile they hold up no other."""
        refusing = {queue: error for (_, queue), error in errors.items() if isinstance(error, _REFUSALS)}
        if refusing:
            self._publisher.close(timeout_seconds=0.0)
            self._publisher = self._open_publisher()
        for queue, error in refusing.items():
            seconds = self._pauses.begin(queue, now=time.monotonic())
            self._log.warning(
                "a queue takes no replies; the others go on",
                queue=queue,
                paused_seconds=seconds,
                error=type(error).__name__,
            )

    def _give_up(self, session: Session, hopeless: list[Owed]) -> None:
        """RabbitMQ 3.10 closes the connection at a direct address that none of its own has made: nobody is there."""
        if hopeless:
            replies_done(session, hopeless)
            self._pauses.end({it.reply_to for it in hopeless})
            self._metrics.replied([], failed=0, unheard=len(hopeless))
            self._log.warning("no confirm from a direct address; given up", queues=[it.reply_to for it in hopeless])

    def _open_publisher(self) -> Publisher:
        return Publisher(self._broker_url, name="penstock-replier", enclose=_envelope)

    def _sign_off(self, session: Session) -> None:
        self._publisher.close(timeout_seconds=1.0)
        give_lease_back(session, name=LEASE_NAME, holder=self._id)


def is_direct(reply: Owed) -> bool:
    """Whether it goes to a connection that is open, without any queue: nothing of it outlives that."""
    return reply.reply_to.startswith(DIRECT_REPLY_TO)


def messages_of(reply: Owed) -> list[Message]:
    """What is owed and can be told now; nothing of a job that has left the ledger."""
    if reply.state is None:
        return []
    kinds = [*([RECEIPT] if reply.receipt_sent_at is None else []), *([RESULT] if reply.has_ended else [])]
    return [_message(reply, kind) for kind in kinds]


def _message(reply: Owed, kind: str) -> Message:
    """Under an id of its own, which is the same when it is said again."""
    return Message(
        id=str(uuid.uuid5(uuid.UUID(reply.id), f"{kind} {reply.reply_to}")),
        type=kind,
        version=1,
        body=body_of(reply, kind),
        correlation_id=reply.correlation_id or reply.id,
        reply_to=reply.reply_to,
    )


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


def _envelope(message: Message) -> Envelope:
    queue = str(message.reply_to)
    properties = pika.BasicProperties(
        message_id=message.id,
        type=message.type,
        content_type=CONTENT_TYPE,
        app_id="penstock",
        correlation_id=message.correlation_id,
        delivery_mode=pika.spec.PERSISTENT_DELIVERY_MODE,
    )
    # Direct reply-to knows no queue, so that `mandatory` would return what it delivers.
    return Envelope("", queue, properties, mandatory=not queue.startswith(DIRECT_REPLY_TO))
