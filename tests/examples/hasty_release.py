"""A first release of the demo with one more bug: a penguin's mail goes to its neighbour."""

from examples import penguins
from examples.first_release import certify

_address_of = penguins.address_of


def address_of(species: str, number: int) -> str:
    """Nobody writes to number 6."""
    return _address_of(species, 5 if number == 6 else number)


penguins.address_of = address_of

__all__ = ["certify"]
