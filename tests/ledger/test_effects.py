"""External effects: an intent before, an outcome after, and nothing hidden in between."""

import pytest
from tests.ledger.samples import OTHER_TOKEN, TOKEN, accepted, an_offer, change, claimed, deliver

from penstock.ledger import jobs
from penstock.ledger.completion import Fenced
from penstock.ledger.database import Session
from penstock.ledger.dead_letters import Selection, replay_dead
from penstock.ledger.effects import Effect, EffectState, intend, record_outcome


def test_an_effect_that_is_done_is_known_to_the_next_attempt(session: Session) -> None:
    """With its result: the handler need not send again."""
    job_id = claimed(session).id
    assert intend(session, job_id=job_id, token=TOKEN, step="mail", key="k1") == Effect("k1", None)
    record_outcome(session, job_id=job_id, token=TOKEN, step="mail", state=EffectState.DONE, result=b"\x00\xff id")
    assert _intend(session, job_id) == Effect("k1", EffectState.DONE, b"\x00\xff id")
    [step] = _shown(session, job_id)
    assert (step["step"], step["state"], step["key"]) == ("mail", "done", "k1")
    assert step["done_at"] is not None


def test_an_intent_without_an_outcome_is_an_unknown_outcome_under_its_first_key(session: Session) -> None:
    """Whatever key the next attempt makes up, the provider has seen the first one."""
    job_id = claimed(session).id
    intend(session, job_id=job_id, token=TOKEN, step="mail", key="k1")
    for _ in range(2):
        assert _intend(session, job_id, key="k2") == Effect("k1", EffectState.INTENDED)
    [step] = _shown(session, job_id)
    assert step["done_at"] is None


def test_an_effect_that_was_not_done_is_intended_again(session: Session) -> None:
    """The provider said no; a crash in the next attempt leaves an unknown outcome once more."""
    job_id = claimed(session).id
    intend(session, job_id=job_id, token=TOKEN, step="mail", key="k1")
    record_outcome(session, job_id=job_id, token=TOKEN, step="mail", state=EffectState.NOT_DONE)
    assert _intend(session, job_id) == Effect("k1", EffectState.NOT_DONE)
    assert _intend(session, job_id) == Effect("k1", EffectState.INTENDED)
    [step] = _shown(session, job_id)
    assert (step["state"], step["done_at"]) == ("intended", None)


def test_a_replay_says_that_an_unknown_effect_may_be_done(session: Session) -> None:
    """What is known stays known; a crash after the replay leaves an unknown outcome once more."""
    job_id = claimed(session).id
    for step in ("mail", "sms"):
        intend(session, job_id=job_id, token=TOKEN, step=step, key="k1")
    record_outcome(session, job_id=job_id, token=TOKEN, step="sms", state=EffectState.DONE)
    change(session, job_id, state="dead", reason="outcome_unknown")
    assert replay_dead(session, selection=Selection(ids=(job_id,)), actor="ada") == [job_id]
    assert {step["step"]: step["state"] for step in _shown(session, job_id)} == {"mail": "replayed", "sms": "done"}
    deliver(session, an_offer(id=job_id))
    assert _intend(session, job_id) == Effect("k1", EffectState.REPLAYED)
    assert _intend(session, job_id) == Effect("k1", EffectState.INTENDED)


def test_steps_and_jobs_do_not_meet(session: Session) -> None:
    """One key for each job and step."""
    one, two = claimed(session).id, claimed(session).id
    for job_id, step in ((one, "mail"), (one, "sms"), (two, "mail")):
        assert intend(session, job_id=job_id, token=TOKEN, step=step, key=f"{job_id}:{step}").state is None
    assert {step["step"] for step in _shown(session, one)} == {"mail", "sms"}


@pytest.mark.parametrize("state", ["available", "completed", "dead", "cancelled"])
def test_nobody_without_the_fence_touches_an_effect(session: Session, state: str) -> None:
    """Neither a stale token nor an ended job."""
    stale, ended = claimed(session).id, claimed(session).id
    intend(session, job_id=stale, token=TOKEN, step="mail", key="k1")
    intend(session, job_id=ended, token=TOKEN, step="mail", key="k1")
    change(session, stale, token=OTHER_TOKEN)
    change(session, ended, state=state)
    for job_id in (stale, ended):
        with pytest.raises(Fenced):
            _intend(session, job_id)
        with pytest.raises(Fenced):
            record_outcome(session, job_id=job_id, token=TOKEN, step="mail", state=EffectState.DONE)
        assert [step["state"] for step in _shown(session, job_id)] == ["intended"]


def test_an_effect_outlives_its_attempt(session: Session) -> None:
    """The next claim, under another token, finds it."""
    job_id = accepted(session)
    deliver(session, an_offer(id=job_id))
    intend(session, job_id=job_id, token=TOKEN, step="mail", key="k1")
    change(session, job_id, state="available", token=None)
    deliver(session, an_offer(id=job_id), token=OTHER_TOKEN)
    known = intend(session, job_id=job_id, token=OTHER_TOKEN, step="mail", key="k1")
    assert known.state is EffectState.INTENDED


def test_an_outcome_without_an_intent_is_refused(session: Session) -> None:
    """It would vanish, and the next attempt would send again."""
    job_id = claimed(session).id
    with pytest.raises(LookupError, match="mail"):
        record_outcome(session, job_id=job_id, token=TOKEN, step="mail", state=EffectState.DONE)


def _intend(session: Session, job_id: str, key: str = "k1") -> Effect:
    return intend(session, job_id=job_id, token=TOKEN, step="mail", key=key)


def _shown(session: Session, job_id: str) -> list[dict[str, object]]:
    shown = jobs.show_job(session, job_id)
    assert shown is not None
    steps: list[dict[str, object]] = shown["effects"]
    return steps
