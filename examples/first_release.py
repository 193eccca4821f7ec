"""The demo's first release: its jobs with a bug that nobody saw in review."""

from typing import Any

from examples import penguins
from examples.penguins import certify


def weight(mass_g: Any) -> str:
    """Forgets that two penguins were never weighed."""
    return f"{mass_g / 1000:.2f} kg"


penguins.weight = weight

__all__ = ["certify"]
