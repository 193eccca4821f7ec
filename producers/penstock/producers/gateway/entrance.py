"""From offers to receipts: into the ledger, or with a reason why not."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.exc import DBAPIError

from penstock.ledger.admission import Admitted, Offer
from penstock.ledger.database import LedgerUnavailable, Session, is_bad_data
from penstock.ledger.jobs import key_holder
from penstock.producers.gateway.acceptance import Acceptance, Accepted, TooMany
from penstock.producers.gateway.differences import differing_fields
from penstock.producers.gateway.problems import Problem, busy, invalid, unavailable
from penstock.producers.gateway.questions import Questions, TooBusy
from penstock.producers.gateway.receipt import Receipt
from penstock.producers.gateway.spare import UNSAID, SpareDoor


class Entrance:
    """Takes offers in: into the ledger, or where there is a spare door, through that while the ledger is gone."""

    def __init__(
        self, acceptance: Acceptance, questions: Questions, *, spare: SpareDoor | None = None, log: Any
    ) -> None:
        self.spare = spare
        self._acceptance = acceptance
        self._questions = questions
        self._log = log

    async def enter(self, offers: Sequence[Offer]) -> list[Receipt | Problem]:
        """What became of each, in their order. Raises `Problem` if nothing can be said of any."""
        if self.spare is not None and self._acceptance.is_troubled:
            return await self.spare.enter(offers)
        try:
            accepted = await self._acceptance.accept(offers)
        except TooMany:
            raise busy("too many jobs wait to be accepted") from None
        except (LedgerUnavailable, DBAPIError):
            if self.spare is not None:
                return await self.spare.enter(offers)
            raise unavailable(f"the ledger cannot be reached; {UNSAID}") from None
        conflicts = [it for it in offers if accepted.outcomes.get(it.message.id) is Admitted.CONFLICT]
        differing = await self._differing(conflicts) if conflicts else {}
        return [self._answer(offer, accepted, differing) for offer in offers]

    def _answer(self, offer: Offer, accepted: Accepted, differing: dict[str, "_Conflict"]) -> Receipt | Problem:
        job_id = offer.message.id
        if (error := accepted.refused.get(job_id)) is not None:
            return self._refusal(error)
        outcome = accepted.outcomes[job_id]
        if outcome is Admitted.CONFLICT:
            return differing[job_id].problem()
        # A duplicate of no other job is this one, committed by an attempt whose answer was lost.
        first = accepted.first.get(job_id)
        return Receipt(first or job_id, "ledger", duplicate=first is not None)

    def _refusal(self, error: BaseException) -> Problem:
        if isinstance(error, Exception) and is_bad_data(error):
            self._log.warning("the ledger refused a job", error=type(error).__name__)
            return invalid([("payload", "the ledger cannot hold it; send text without control characters")])
        return unavailable("the key is being used by a transaction that is still open; send it again a little later")

    async def _differing(self, offers: Sequence[Offer]) -> dict[str, "_Conflict"]:
        """What each conflict is about; that it is one is known already."""

        def compare(session: Session) -> dict[str, _Conflict]:
            return {offer.message.id: _compared(session, offer) for offer in offers}

        try:
            return await self._questions.ask(compare)
        except (LedgerUnavailable, DBAPIError, TooBusy):
            return {offer.message.id: _Conflict(None, []) for offer in offers}


@dataclass(frozen=True, slots=True)
class _Conflict:
    first: str | None
    differs: list[str]

    def problem(self) -> Problem:
        where = f" in {', '.join(self.differs)}" if self.differs else ""
        detail = f"the key belongs to another job of this type, whose payload differs{where}; send it under another key"
        more: dict[str, Any] = {"differs": self.differs} | ({"job_id": self.first} if self.first else {})
        return Problem(409, "key-conflict", "The key is another job's", detail, more=more)


def _compared(session: Session, offer: Offer) -> _Conflict:
    message = offer.message
    holder = key_holder(session, type=offer.key_type or message.type, key=message.key or message.id)
    if holder is None:
        return _Conflict(None, [])
    first, payload = holder
    return _Conflict(first, differing_fields(payload, message.body) or ["payload"])
