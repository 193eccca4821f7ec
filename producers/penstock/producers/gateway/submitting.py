"""`POST /v1/jobs` and `POST /v1/jobs:batch`."""

import asyncio
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from penstock.ledger.admission import Offer
from penstock.producers.gateway.answers import answer
from penstock.producers.gateway.caller import Caller
from penstock.producers.gateway.catalogue import Sender, offer_of
from penstock.producers.gateway.gateway import Gateway
from penstock.producers.gateway.problems import Problem, invalid
from penstock.producers.gateway.reading import read_body
from penstock.producers.gateway.receipt import Receipt
from penstock.producers.gateway.showing import Showing, seconds_of
from penstock.producers.gateway.submission import SUBMISSION_BYTES_MAX, Order, read_order, split_batch
from penstock.schemas.message import KEY_LENGTH_MAX

T = TypeVar("T")

BATCH_BYTES_MAX = 8 * 1024 * 1024
# Larger ones would hold up everybody else on the event loop.
AT_ONCE_BYTES_MAX = 64 * 1024
LARGE_BODIES_MAX = 2

_KEY = re.compile(rf"[\x20-\x7e]{{1,{KEY_LENGTH_MAX}}}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


class Submitting:
    """Jobs come in. A receipt is given when the ledger has committed."""

    def __init__(self, gateway: Gateway, showing: Showing) -> None:
        self._gateway = gateway
        self._showing = showing
        self._large = asyncio.Semaphore(LARGE_BODIES_MAX)

    async def submit(self, request: Request) -> Response:
        """Accept one job. The same key with the same payload is answered with the first one's receipt."""
        seconds = seconds_of(request.query_params.get("wait"))
        caller = await self._gateway.guard.caller_of(request)
        with self._gateway.buffers.body() as buffer:
            body = await read_body(request, buffer, bytes_max=SUBMISSION_BYTES_MAX)
            order = await self._worked_out(read_order, body)
        key = _one_key(header_key(request), order.submission.key)
        offer = self._offer(order, caller, request, key=key)
        [receipt] = await self._gateway.entrance.enter([offer])
        if isinstance(receipt, Problem):
            raise receipt
        self._count([receipt])
        if seconds and receipt.durable == "ledger":
            await self._gateway.watch.until_ended(receipt.id, seconds=seconds, request=request)
        document = _document(receipt, offer, key)
        if receipt.durable == "ledger" and (receipt.duplicate or seconds):
            document["job"] = await self._showing.after_receipt(receipt.id, caller)
        headers = {"Location": f"/v1/jobs/{receipt.id}"}
        return answer(document, status=202, headers=headers)

    async def submit_batch(self, request: Request) -> Response:
        """Accept up to a thousand jobs. Each is accepted or refused for itself; `results` are in their order."""
        caller = await self._gateway.guard.caller_of(request)
        if "idempotency-key" in request.headers:
            raise invalid([("Idempotency-Key", "is for one job; give each job of a batch a `key` of its own")])
        with self._gateway.buffers.body() as buffer:
            body = await read_body(request, buffer, bytes_max=BATCH_BYTES_MAX)
            orders = await self._worked_out(_read_many, body)
            await self._gateway.guard.count(request, caller, jobs=len(orders))
            offers = [self._attempt(order, caller, request) for order in orders]
        entered = [it for it in offers if isinstance(it, Offer)]
        receipts = iter(await self._gateway.entrance.enter(entered) if entered else [])
        results = []
        for order, offer in zip(orders, offers, strict=True):
            outcome = next(receipts) if isinstance(offer, Offer) else offer
            results.append(_item(order, offer, outcome))
            if isinstance(outcome, Receipt):
                self._count([outcome])
        accepted = sum("receipt" in it for it in results)
        return answer({"accepted": accepted, "refused": len(results) - accepted, "results": results})

    def _offer(self, order: Order, caller: Caller, request: Request, *, key: str | None) -> Offer:
        submission = order.submission
        known = self._gateway.catalogue.find(submission.type, submission.version)
        caller.require("publish", known.contract.type)
        traceparent = request.headers.get("traceparent", "")
        sender = Sender(
            tenant=caller.tenant_of(submission.tenant),
            traceparent=traceparent if _TRACEPARENT.fullmatch(traceparent) else None,
        )
        stored = caller.stored_key(key)
        if stored is not None and len(stored) > KEY_LENGTH_MAX:
            raise invalid([("key", f"is too long beside the name of the tenant; {KEY_LENGTH_MAX} characters for both")])
        return offer_of(order, known, sender, key=stored, keyring=self._gateway.catalogue.keyring)

    def _attempt(self, order: Order | Problem, caller: Caller, request: Request) -> Offer | Problem:
        if isinstance(order, Problem):
            return order
        try:
            return self._offer(order, caller, request, key=order.submission.key)
        except Problem as problem:
            return problem

    async def _worked_out(self, read: Callable[[bytes], T], body: bytes) -> T:
        """Large bodies are read beside the event loop, a few at a time: each takes many times its bytes meanwhile."""
        if len(body) <= AT_ONCE_BYTES_MAX:
            return read(body)
        async with self._large:
            return await asyncio.to_thread(read, body)

    def _count(self, receipts: Sequence[Receipt]) -> None:
        for receipt in receipts:
            self._gateway.metrics.accepted(durable=receipt.durable, jobs=1, duplicates=int(receipt.duplicate))


def header_key(request: Request) -> str | None:
    """The Idempotency-Key, plain or as the quoted string of its draft standard; raises `Problem`."""
    found = request.headers.getlist("idempotency-key")
    if not found:
        return None
    key = found[0].strip()
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    if len(found) > 1 or not _KEY.fullmatch(key):
        detail = (
            f"send it once, with 1 to {KEY_LENGTH_MAX} printable characters of ASCII; others go into the field `key`"
        )
        raise Problem(400, "malformed", "The request cannot be read", detail, errors=[("Idempotency-Key", detail)])
    return key


def _one_key(header: str | None, field: str | None) -> str | None:
    if header is not None and field not in (None, header):
        said = "is not the same as Idempotency-Key; send one of them"
        raise Problem(409, "two-keys", "Two keys", f"key: {said}", errors=[("key", said)])
    return header if header is not None else field


def _read_many(body: bytes) -> list[Order | Problem]:
    orders: list[Order | Problem] = []
    for document in split_batch(body):
        try:
            orders.append(read_order(document))
        except Problem as problem:
            orders.append(problem)
    return orders


def _document(receipt: Receipt, offer: Offer, key: str | None) -> dict[str, Any]:
    return {
        "id": receipt.id,
        "type": offer.message.type,
        "key": key,
        "durable": receipt.durable,
        "duplicate": receipt.duplicate,
    }


def _item(order: Order | Problem, offer: Offer | Problem, outcome: Receipt | Problem) -> dict[str, Any]:
    if isinstance(outcome, Problem):
        return {"status": outcome.status, "problem": outcome.document}
    assert isinstance(offer, Offer)
    assert isinstance(order, Order)
    return {"status": 202, "receipt": _document(outcome, offer, order.submission.key)}
