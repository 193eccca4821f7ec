"""A settler with claims to settle, in a test."""

from typing import Any

import structlog
from tests.ledger.samples import claimed

from penstock.ledger.admission import Claim
from penstock.ledger.database import Ledger, Session
from penstock.ledger.settlement import Outcome, settle, settle_with_writes
from penstock.ledger.state import State
from penstock.workers.holding import Holding
from penstock.workers.settler import Settler


class Settling:
    """`batches` is what the settler has reported: ids, and those that were fenced; `states` where each job went."""

    def __init__(self, ledger: Ledger, *, on_settled: Any = None, with_writes: bool = False) -> None:
        self.holding = Holding(threads=4)
        self.batches: list[tuple[list[str], set[str]]] = []
        self.states: dict[str, str] = {}
        self.settler: Settler[Session] = Settler(
            self.holding,
            connect=ledger.writing_session if with_writes else ledger.session,
            settle=settle_with_writes if with_writes else settle,
            log=structlog.get_logger(),
            on_settled=on_settled or self._note,
        )

    def claim(self, session: Session) -> Claim:
        claim = claimed(session)
        self.holding.claims[claim.id] = claim
        return claim

    def _note(self, settled: list[tuple[Outcome, Claim | None]], fenced: set[str]) -> None:
        self.batches.append(([outcome.job_id for outcome, _ in settled], fenced))
        self.states |= {outcome.job_id: outcome.state for outcome, _ in settled}


def completed(claim: Claim, **fields: Any) -> Outcome:
    return Outcome(claim.id, claim.token, State.COMPLETED, **fields)
