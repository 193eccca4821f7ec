"""The model check finds what is missing: each part of the protocol that is taken away breaks a property."""

from typing import NamedTuple

import pytest
from tests.model import protocol
from tests.model.explorer import explore
from tests.model.properties import (
    ATTEMPT_USED_UP,
    ATTEMPTS_INVENTED,
    EFFECT_LOST,
    EFFECT_REPEATED,
    EFFECT_TWICE,
    ENDED_CHANGED,
    INNOCENT_BLAMED,
    KEY_TWICE,
    RECEIPT_LOST,
    STALE_TOKEN,
    STARTED_TWICE,
    STUCK,
)
from tests.model.protocol import Protocol
from tests.model.test_protocol import AT_MOST_ONCE, GUILTY, IN_LEDGER, SETTLED_LATER, TWINS, effect
from tests.model.world import Budget, JobSpec, Model

from penstock.ledger import transitions
from penstock.workers.effect import Resumption, resume


class Mutation(NamedTuple):
    model: Model
    breaks: str
    last: str  # what the end of the shortest trace tells


MUTATIONS = {
    "dedup by id in the claim": Mutation(
        Model(budget=Budget(duplicates=1), protocol=protocol.without_dedup_by_id()), EFFECT_TWICE, "2 effects"
    ),
    "the end of an ended job": Mutation(
        Model(budget=Budget(duplicates=1), protocol=protocol.without_dedup_by_id()), ENDED_CHANGED, "claims A"
    ),
    "dedup by key in the claim": Mutation(
        Model(jobs=TWINS, keyed=True, protocol=protocol.without_dedup_by_key()), KEY_TWICE, "commits B"
    ),
    "the fencing token at settle": Mutation(
        Model(budget=Budget(early_rescues=1), protocol=protocol.without_fence()), STALE_TOKEN, "commits A"
    ),
    "the dispatcher": Mutation(
        Model(jobs=(SETTLED_LATER,), budget=Budget(failures=1), protocol=Protocol(dispatches=False)),
        STUCK,
        "becomes due",
    ),
    "the dispatch number of the late mark": Mutation(
        Model(
            jobs=(IN_LEDGER,),
            suspicion=False,
            budget=Budget(handbacks=1),
            protocol=protocol.without_dispatch_number(),
        ),
        STUCK,
        "marks A",
    ),
    "the ack only after the claim": Mutation(
        Model(budget=Budget(crashes=1), protocol=Protocol(acks_before_claim=True)), RECEIPT_LOST, "receives A and acks"
    ),
    "the self-check": Mutation(
        Model(budget=Budget(lost_claims=1), protocol=Protocol(checks_itself=False)), STUCK, "executing[1]"
    ),
    "that a cancel leaves an ended job alone": Mutation(
        Model(budget=Budget(cancels=1), protocol=protocol.cancelling_what_has_ended()), ENDED_CHANGED, "cancels A"
    ),
    "that a settle sent again changes nothing": Mutation(
        Model(
            jobs=(SETTLED_LATER,),
            budget=Budget(lost_settles=1, failures=1),
            protocol=protocol.counting_again_when_asked_again(),
        ),
        ATTEMPTS_INVENTED,
        "settles A",
    ),
    "the rescue of rows under an unknown process": Mutation(
        Model(budget=Budget(strays=1, crashes=1), protocol=Protocol(frees_orphans=False)), STUCK, "executing[1]"
    ),
    "the finder of lost messages": Mutation(
        Model(jobs=(IN_LEDGER,), suspicion=False, budget=Budget(wipes=1)), STUCK, "available dispatched"
    ),
    "the suspect lane": Mutation(Model(lane=False, budget=Budget(crashes=1)), STUCK, "available"),
    "all blame": Mutation(Model(jobs=(GUILTY,), protocol=protocol.without_blame()), STUCK, "A"),
    "that only a death alone convicts": Mutation(
        Model(jobs=(GUILTY, JobSpec()), workers=1, slots=2, protocol=protocol.blaming_neighbours()),
        INNOCENT_BLAMED,
        "dead[2](crash)",
    ),
    "the count of attempts at settle, not at the claim": Mutation(
        Model(budget=Budget(early_rescues=1), protocol=protocol.counting_at_the_claim()), ATTEMPTS_INVENTED, "claims A"
    ),
    "an attempt for a guilty death only": Mutation(
        Model(jobs=(GUILTY, JobSpec()), workers=1, slots=2, protocol=protocol.blaming_neighbours()),
        ATTEMPT_USED_UP,
        "B ran beside others",
    ),
    "outcome_unknown for an outcome that died with its process": Mutation(
        Model(jobs=(AT_MOST_ONCE,), budget=Budget(crashes=1), protocol=Protocol(interrupt=transitions.release)),
        STARTED_TWICE,
        "starts A",
    ),
    "that a failed at_most_once job is buried": Mutation(
        Model(jobs=(AT_MOST_ONCE,), budget=Budget(failures=1), protocol=protocol.forgetting_at_most_once()),
        STARTED_TWICE,
        "starts A",
    ),
    "that an at_most_once job is not put off once it has started": Mutation(
        Model(jobs=(AT_MOST_ONCE,), budget=Budget(snoozes=1), protocol=protocol.forgetting_at_most_once()),
        STARTED_TWICE,
        "starts A",
    ),
    "that trouble with a started at_most_once job ends it": Mutation(
        Model(jobs=(AT_MOST_ONCE,), budget=Budget(troubles=1), protocol=protocol.forgetting_at_most_once()),
        STARTED_TWICE,
        "starts A",
    ),
    "the intent before an external effect": Mutation(
        Model(jobs=(effect("park"),), budget=Budget(crashes=1), protocol=Protocol(intended=lambda before: before)),
        EFFECT_REPEATED,
        "has the effect of A",
    ),
    "the policy for what nobody knows": Mutation(
        Model(
            jobs=(effect("ask_provider"),),
            budget=Budget(crashes=1),
            protocol=Protocol(resume=lambda known, _: resume(known, "retry_same_key")),
        ),
        EFFECT_REPEATED,
        "has the effect of A",
    ),
    "that an intent alone proves no effect": Mutation(
        Model(
            jobs=(effect("retry_same_key"),),
            budget=Budget(crashes=1),
            protocol=Protocol(resume=lambda known, _: Resumption.DO if known is None else Resumption.SKIP),
        ),
        EFFECT_LOST,
        "settles A",
    ),
    "that a key is asked for unseen ids only": Mutation(
        Model(
            jobs=TWINS,
            keyed=True,
            budget=Budget(expiries=1, replays=1, burials=1),
            protocol=Protocol(asks_key_of_known=True),
        ),
        STUCK,
        "A: available",
    ),
}


@pytest.mark.parametrize("mutation", MUTATIONS.values(), ids=MUTATIONS.keys())
def test_without_it_a_property_breaks(mutation: Mutation) -> None:
    """A shortest trace exists, and ends with what went wrong."""
    exploration = explore(mutation.model, only=mutation.breaks)
    print(exploration)
    assert exploration.broken == mutation.breaks, f"\n{exploration}"
    assert exploration.trace
    assert mutation.last in exploration.trace[-1]


@pytest.mark.parametrize("mutation", MUTATIONS.values(), ids=MUTATIONS.keys())
def test_with_it_the_same_model_holds(mutation: Mutation) -> None:
    """It is the missing part, and not the model, that broke the property."""
    whole = Model(
        jobs=mutation.model.jobs,
        workers=mutation.model.workers,
        slots=mutation.model.slots,
        keyed=mutation.model.keyed,
        budget=mutation.model.budget,
    )
    exploration = explore(whole)
    assert not exploration.broken, f"\n{exploration}"
