"""Each transition alone, on any row: what an event may and may not do."""

from collections.abc import Callable
from dataclasses import replace

from hypothesis import assume, given
from hypothesis import strategies as st

from penstock.ledger import transitions
from penstock.ledger.dedup import KeyVerdict, decide_key
from penstock.ledger.state import ENDED, WAITING, Reason, State
from penstock.ledger.transitions import Death, Row, Verdict

Event = tuple[str, Callable[[Row], Row]]

TOKENS = st.integers(min_value=1, max_value=3)
TIMES = st.sampled_from([0.0, 1.0, 2.0])
COUNTS = st.integers(min_value=0, max_value=3)


@st.composite
def rows(draw: st.DrawFn, states: frozenset[State] = frozenset(State)) -> Row:
    """Any row that can be: a waiting one has no token, an executing one has, only waiting ones are dispatched."""
    state = draw(st.sampled_from(sorted(states)))
    tokens = st.none() if state in WAITING else TOKENS if state is State.EXECUTING else st.none() | TOKENS
    return Row(
        state=state,
        due_at=draw(TIMES),
        token=draw(tokens),
        attempts=draw(COUNTS),
        crashes=draw(st.integers(min_value=0, max_value=transitions.CRASHES_MAX - 1)),
        losses=draw(COUNTS),
        troubles=draw(st.sampled_from([0, transitions.TROUBLES_MAX - 1])),
        suspect=draw(st.booleans()),
        at_most_once=draw(st.booleans()),
        cancel_requested=state not in WAITING and draw(st.booleans()),
        dispatched_at=draw(st.none() | TIMES) if state in WAITING else None,
        dispatch_number=draw(COUNTS),
        reason=draw(st.sampled_from(Reason)) if state in (State.DEAD, State.CANCELLED) else None,
        unknown_since=draw(st.none() | TIMES),
    )


@st.composite
def settles(draw: st.DrawFn, names: frozenset[str] = frozenset()) -> Event:
    """An event that needs the token; any, or one of these."""
    token, time = draw(TOKENS), draw(TIMES)
    death, alone = draw(st.sampled_from(Death)), draw(st.booleans())
    reason = draw(st.sampled_from([Reason.ATTEMPTS, Reason.PERMANENT, Reason.INVALID_PAYLOAD]))
    events: dict[str, Callable[[Row], Row]] = {
        "complete": lambda row: transitions.complete(row, token=token),
        "fail": lambda row: transitions.fail(row, token=token, retry_at=time),
        "bury": lambda row: transitions.bury(row, token=token, reason=reason),
        "snooze": lambda row: transitions.snooze(row, token=token, due_at=time),
        "release": lambda row: transitions.release(row, token=token, now=time),
        "put_back": lambda row: transitions.put_back(
            row, token=token, now=time, due_at=time + 1, reason=Reason.UNKNOWN_TYPE
        ),
        "trouble": lambda row: transitions.trouble(row, token=token, due_at=time),
        "interrupt": lambda row: transitions.interrupt(row, token=token, now=time),
        "crash": lambda row: transitions.crash(row, token=token, now=time, death=death, alone=alone),
        "lose": lambda row: transitions.lose(row, token=token, now=time),
    }
    name = draw(st.sampled_from(sorted(names or events)))
    return name, events[name]


@st.composite
def other_events(draw: st.DrawFn) -> Event:
    """An event that anybody may cause."""
    token, time, due_at = draw(TOKENS), draw(TIMES), draw(TIMES)
    startable, unknown = draw(st.booleans()), draw(st.none() | st.just(Reason.UNKNOWN_TYPE))
    seen = draw(rows(states=WAITING))
    events: dict[str, Callable[[Row], Row]] = {
        "admit": lambda row: transitions.admit(
            row, token=token, now=time, due_at=due_at, startable=startable, unknown=None if startable else unknown
        )[0],
        "mark": lambda row: transitions.mark_dispatched(row, seen=seen, now=time),
        "suspect_lost": transitions.suspect_lost,
        "cancel": transitions.cancel,
        "replay": lambda row: transitions.replay(row, now=time),
        "discard": transitions.discard,
        "hurry": lambda row: transitions.hurry(row, now=time),
    }
    name = draw(st.sampled_from(sorted(events)))
    return name, events[name]


EVENTS = settles() | other_events()


@given(rows(states=ENDED), EVENTS)
def test_an_ended_row_changes_only_by_replay_and_discard(row: Row, event: Event) -> None:
    name, happen = event
    assume(name not in ("replay", "discard"))
    assert happen(row) == row


@given(rows(), EVENTS)
def test_attempts_go_down_only_by_replay(row: Row, event: Event) -> None:
    name, happen = event
    assert happen(row).attempts >= row.attempts or name == "replay"


@given(rows(), EVENTS)
def test_only_the_end_of_a_run_uses_up_an_attempt_and_only_one(row: Row, event: Event) -> None:
    name, happen = event
    after = happen(row)
    if after.attempts > row.attempts:
        assert after.attempts == row.attempts + 1
        assert name in ("complete", "fail", "bury") or after.reason is Reason.CRASH


@given(rows(), settles(), TOKENS)
def test_a_stale_token_changes_nothing(row: Row, settle: Event, token: int) -> None:
    """The very same object comes back, by which the caller knows that it was fenced."""
    _, happen = settle
    if happen(row) is not row:
        assert row.state is State.EXECUTING
        other = replace(row, token=(row.token or 0) + 100)
        assert happen(other) is other


@given(rows(states=frozenset({State.EXECUTING})), EVENTS)
def test_a_job_that_somebody_asked_to_cancel_never_waits_again(row: Row, event: Event) -> None:
    _, happen = event
    assert happen(replace(row, cancel_requested=True)).state not in WAITING


@given(rows(states=WAITING), st.lists(EVENTS, min_size=1, max_size=6))
def test_a_mark_misses_a_row_that_has_changed_since_it_was_selected(row: Row, events: list[Event]) -> None:
    """However it changed, and even if it is waiting again by now."""
    seen = after = replace(row, dispatched_at=None)
    for _, happen in events:
        after = happen(after)
    marked = transitions.mark_dispatched(after, seen=seen, now=0.0)
    assert (marked is after) == (after != seen)


@given(rows(), EVENTS)
def test_dispatch_numbers_never_go_back(row: Row, event: Event) -> None:
    _, happen = event
    assert happen(row).dispatch_number >= row.dispatch_number


@given(rows(), EVENTS)
def test_only_an_executing_row_can_have_a_live_token(row: Row, event: Event) -> None:
    """A waiting row has none, so that no earlier claim can settle it; an executing one always has."""
    _, happen = event
    after = happen(row)
    assert after.state not in WAITING or after.token is None
    assert after.state is not State.EXECUTING or after.token is not None


@given(rows(states=frozenset({State.EXECUTING})), settles(frozenset({"interrupt", "crash", "lose"})))
def test_an_at_most_once_job_whose_run_was_cut_off_ends_dead(row: Row, settle: Event) -> None:
    _, happen = settle
    row = replace(row, at_most_once=True)
    after = happen(row)
    assert after is row or (after.state is State.DEAD and after.reason is Reason.OUTCOME_UNKNOWN)


@given(rows(), st.sampled_from(Death), st.booleans())
def test_only_a_death_alone_convicts(row: Row, death: Death, alone: bool) -> None:
    assume(row.reason is not Reason.CRASH)
    after = transitions.crash(row, token=row.token or 0, now=0.0, death=death, alone=alone)
    if after.reason is Reason.CRASH:
        assert alone
        assert death is Death.OWN_DOING or after.crashes >= transitions.CRASHES_MAX


@given(rows(states=frozenset({State.DEAD})))
def test_a_second_click_on_replay_changes_nothing(row: Row) -> None:
    once = transitions.replay(row, now=0.0)
    assert transitions.replay(once, now=1.0) is once


@given(st.none() | rows(), TOKENS, TIMES, TIMES, st.booleans())
def test_asking_again_for_a_claim_gives_the_same_answer(
    row: Row | None, token: int, now: float, due_at: float, startable: bool
) -> None:
    """A claim whose reply was lost is found by its token, and changes nothing more."""
    after, verdict = transitions.admit(row, token=token, now=now, due_at=due_at, startable=startable)
    again, verdict_again = transitions.admit(after, token=token, now=now, due_at=due_at, startable=startable)
    if verdict is Verdict.CLAIMED:
        assert verdict_again is Verdict.CLAIMED
        assert again is after


@given(st.none() | rows(), TOKENS, TIMES, TIMES, st.booleans())
def test_a_claim_starts_only_what_is_due_startable_and_no_suspect(
    row: Row | None, token: int, now: float, due_at: float, startable: bool
) -> None:
    after, verdict = transitions.admit(row, token=token, now=now, due_at=due_at, startable=startable)
    if verdict is Verdict.CLAIMED and after is not row:
        assert after.token == token
        assert startable
        assert (due_at if row is None else row.due_at) <= now
        assert row is None or (row.state in WAITING and not row.suspect)


@given(
    st.sampled_from(["a", "b"]),
    st.sampled_from(["x", "y"]),
    st.none() | st.sampled_from(State),
    st.booleans(),
)
def test_a_key_is_given_away_only_when_its_job_has_ended(
    job_id: str, payload: str, holder_state: State | None, expired: bool
) -> None:
    verdict = decide_key(
        job_id=job_id,
        payload_hash=payload,
        holder_id="a",
        holder_hash="x",
        holder_state=holder_state,
        expired=expired,
    )
    assert (verdict is KeyVerdict.OWN) == (job_id == "a")
    if verdict is KeyVerdict.FREE:
        assert holder_state is None or holder_state in ENDED
        assert expired or holder_state is State.CANCELLED
    if verdict in (KeyVerdict.ALIAS, KeyVerdict.CONFLICT):
        assert (verdict is KeyVerdict.ALIAS) == (payload == "x")
