"""The nemesis for half a minute; `make chaos` runs it for longer, and on other seeds."""

from pathlib import Path

import pytest
from tests.faults.chaos import FAULTS_MIN, run

SEED = 4
SECONDS = 30.0


@pytest.mark.faults
def test_random_faults_under_load_lose_and_double_nothing(tmp_path: Path) -> None:
    """Heal, drain, judge."""
    result = run(tmp_path, seed=SEED, seconds=SECONDS)
    assert result.is_clean, f"\n{result.verdict}\n{result.grown}"
    assert result.faults.total() >= FAULTS_MIN
