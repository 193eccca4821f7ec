"""The protocol over the real transition functions holds in every world that small budgets of faults can reach."""

import pytest
from tests.model.explorer import explore
from tests.model.properties import INNOCENT_BLAMED
from tests.model.world import Budget, JobSpec, Model

from penstock.workers.effect import UnknownPolicy

IN_LEDGER = JobSpec(accepted_by_ledger=True)
SETTLED_LATER = JobSpec(transactional=False)
GUILTY = JobSpec(guilty=True)
AT_MOST_ONCE = JobSpec(transactional=False, at_most_once=True)
TWINS = (JobSpec(), JobSpec())
RIVALS = (JobSpec(), JobSpec(payload="another"))


def effect(unknown: UnknownPolicy) -> JobSpec:
    """A job with an external effect."""
    return JobSpec(transactional=False, unknown=unknown)


MODELS = {
    "no fault at all": Model(),
    "workers killed, messages doubled, answers lost": Model(
        budget=Budget(crashes=1, duplicates=1, lost_claims=1, unknown_confirms=1)
    ),
    "channels drop while claims are open": Model(budget=Budget(channel_drops=2, lost_claims=1, handbacks=1)),
    "requests that the database executes late": Model(budget=Budget(strays=1, early_rescues=1, lost_settles=1)),
    "late requests of a dead process": Model(budget=Budget(strays=1, crashes=1)),
    "late and lost settles, retries": Model(
        jobs=(SETTLED_LATER,), budget=Budget(strays=1, early_rescues=1, lost_settles=1, failures=1)
    ),
    "paused workers that are rescued too early": Model(budget=Budget(early_rescues=2, crashes=1)),
    "a wiped broker": Model(budget=Budget(wipes=1, crashes=1, dispatcher_crashes=1)),
    "two dispatchers that die, a wiped broker": Model(
        jobs=(IN_LEDGER,),
        dispatchers=2,
        budget=Budget(dispatcher_crashes=1, unknown_confirms=1, handbacks=1, wipes=1),
    ),
    "late marks, and nobody who finds lost messages": Model(
        jobs=(SETTLED_LATER,),
        suspicion=False,
        budget=Budget(dispatcher_crashes=1, failures=1, handbacks=1, early_rescues=1),
    ),
    "two dispatchers, and nobody who finds lost messages": Model(
        jobs=(SETTLED_LATER,), dispatchers=2, suspicion=False, budget=Budget(failures=1, handbacks=1)
    ),
    "deliveries that cannot start now": Model(
        jobs=(IN_LEDGER,), budget=Budget(unstartable=2, dispatcher_crashes=1, duplicates=1)
    ),
    "at most once: kills, early rescues, lost answers, a replay": Model(
        jobs=(AT_MOST_ONCE,), budget=Budget(crashes=1, early_rescues=1, lost_claims=1, lost_settles=1, replays=1)
    ),
    "at most once: vanished hosts, troubles, stops, failures": Model(
        jobs=(AT_MOST_ONCE,), budget=Budget(vanishes=1, troubles=1, stops=1, failures=1, snoozes=1, cancels=1)
    ),
    "at most once: late and lost commits": Model(
        jobs=(JobSpec(at_most_once=True),), budget=Budget(vanishes=1, strays=1, lost_settles=1)
    ),
    "a guilty job and its neighbour": Model(jobs=(GUILTY, JobSpec()), workers=1, slots=2),
    "a guilty job that is killed besides, and replayed": Model(jobs=(GUILTY,), budget=Budget(crashes=1, replays=1)),
    "an innocent job in two kills and a lost host": Model(budget=Budget(crashes=2, vanishes=1)),
    "cancel, replay, discard, snooze": Model(
        jobs=(JobSpec(transactional=False, later=True),),
        budget=Budget(cancels=1, replays=1, burials=1, discards=1, snoozes=1, crashes=1),
    ),
    "a cancel amid stops and lost answers": Model(
        budget=Budget(cancels=1, stops=1, handbacks=1, lost_claims=1, early_rescues=1)
    ),
    "one key, two ids: unknown confirms": Model(jobs=TWINS, keyed=True, budget=Budget(unknown_confirms=1, handbacks=1)),
    "one key, two ids: a kill, a doubled message": Model(
        jobs=TWINS, keyed=True, budget=Budget(crashes=1, duplicates=1)
    ),
    "one key, two ids: cancel and lost claims": Model(jobs=TWINS, keyed=True, budget=Budget(cancels=1, lost_claims=1)),
    "one key, two payloads": Model(jobs=RIVALS, keyed=True, budget=Budget(duplicates=1, crashes=1)),
    "an external effect, done again under its key": Model(
        jobs=(effect("retry_same_key"),), budget=Budget(crashes=1, early_rescues=1, lost_settles=1)
    ),
    "an external effect, parked when nobody knows, and replayed": Model(
        jobs=(effect("park"),), workers=1, budget=Budget(crashes=1, failures=1, replays=1)
    ),
    "an external effect, parked, and cancelled or stopped": Model(
        jobs=(effect("park"),), budget=Budget(crashes=1, stops=1, cancels=1, troubles=1)
    ),
    "an external effect, of which the provider is asked": Model(
        jobs=(effect("ask_provider"),), workers=1, budget=Budget(crashes=1, failures=1, vanishes=1)
    ),
    "an external effect under paused workers": Model(
        jobs=(effect("park"),), budget=Budget(early_rescues=1, failures=1, replays=1)
    ),
    "a key expires, a dead job is replayed": Model(
        jobs=TWINS, keyed=True, budget=Budget(expiries=1, replays=1, burials=1)
    ),
}


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())
def test_the_protocol_holds(model: Model) -> None:
    """No reachable world breaks a safety property, and from each the promised steps lead to the end."""
    exploration = explore(model)
    print(exploration)
    assert not exploration.broken, f"\n{exploration}"


def test_three_kills_from_outside_convict_an_innocent_job() -> None:
    """The known limit of blame: one SIGKILL beside others and two alone. With fewer nobody is convicted (above)."""
    exploration = explore(Model(budget=Budget(crashes=3)), only=INNOCENT_BLAMED)
    assert exploration.broken == INNOCENT_BLAMED


def test_a_key_conflict_never_runs() -> None:
    exploration = explore(Model(jobs=RIVALS, keyed=True, budget=Budget(replays=1)))
    assert not exploration.broken, f"\n{exploration}"


def test_a_delivery_that_cannot_start_needs_nobody_who_finds_lost_messages() -> None:
    exploration = explore(Model(suspicion=False, budget=Budget(unstartable=2)))
    assert not exploration.broken, f"\n{exploration}"
