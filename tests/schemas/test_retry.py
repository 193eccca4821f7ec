"""The delay before the next attempt: within its bounds, whatever the options and the attempt."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.schemas import Backoff, Bury, Retry, RetryPolicy

ERROR = ValueError()
DRAWS = st.floats(0, 1, exclude_max=True)


@given(
    attempt=st.integers(1, 1000),
    base=st.floats(0, 86_400),
    factor=st.floats(1, 10),
    cap=st.floats(0, 30 * 86_400),
    draw=DRAWS,
)
def test_a_delay_is_never_below_zero_nor_above_its_bounds(
    attempt: int, base: float, factor: float, cap: float, draw: float
) -> None:
    """Up to the cap, and up to base · factor^(attempt - 1)."""
    policy = Backoff(base_seconds=base, factor=factor, cap_seconds=cap, draw=lambda: draw)
    decision = policy.decide(attempt, ERROR)
    assert isinstance(decision, Retry)
    assert 0 <= decision.delay_seconds <= cap
    assert decision.delay_seconds <= base * factor ** min(attempt - 1, 64) * (1 + 1e-9)


@pytest.mark.parametrize(("factor", "attempt"), [(1e5, 65), (1e10, 40), (1e300, 3)])
def test_a_steep_factor_reaches_the_cap_and_no_error(factor: float, attempt: int) -> None:
    """Whoever wants to wait an hour from the third attempt on says so like that."""
    assert Backoff(factor=factor, draw=lambda: 1.0).decide(attempt, ERROR) == Retry(3600.0)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("base_seconds", -1.0),
        ("base_seconds", math.nan),
        ("base_seconds", math.inf),
        ("factor", 0.0),
        ("factor", -2.0),
        ("factor", math.nan),
        ("cap_seconds", -1.0),
        ("cap_seconds", math.nan),
        ("cap_seconds", math.inf),
    ],
)
def test_options_that_make_no_sense_are_refused_by_name(option: str, value: float) -> None:
    """When the job is declared, not when it first fails."""
    with pytest.raises((TypeError, ValueError), match=option):
        Backoff(**{option: value})  # type: ignore[arg-type]


def test_the_bound_doubles_with_each_attempt_up_to_the_cap() -> None:
    """With the defaults: 2 s, 4 s, 8 s … one hour."""
    policy = Backoff(draw=lambda: 1.0)
    delays = [decision.delay_seconds for n in range(1, 14) if isinstance(decision := policy.decide(n, ERROR), Retry)]
    assert delays[:5] == [2, 4, 8, 16, 32]
    assert delays[-3:] == [2048, 3600, 3600]


def test_full_jitter_spreads_over_the_whole_bound() -> None:
    """From zero on: half of a herd comes back in the first half."""
    policy = Backoff(base_seconds=100, cap_seconds=100)
    delays = [decision.delay_seconds for _ in range(2000) if isinstance(decision := policy.decide(1, ERROR), Retry)]
    assert min(delays) < 5
    assert max(delays) > 95
    assert 45 < sum(delays) / len(delays) < 55


def test_anything_that_decides_is_a_policy() -> None:
    """An author writes a class with one method."""

    class Once:
        def decide(self, attempt: int, error: BaseException) -> Retry | Bury:
            return Retry(1.0) if attempt == 1 else Bury("attempts")

    policy: RetryPolicy = Once()
    assert [policy.decide(n, ERROR) for n in (1, 2)] == [Retry(1.0), Bury("attempts")]
