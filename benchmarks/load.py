"""What the jobs of a measurement are."""

from typing import Literal, NamedTuple

PAUSE_SECONDS = 0.005
TABLES = """
    CREATE TABLE IF NOT EXISTS numbers (n integer);
    CREATE TABLE IF NOT EXISTS notes (n integer);
    CREATE TABLE IF NOT EXISTS seen (key text PRIMARY KEY, done boolean NOT NULL)
"""

Kind = Literal["noop", "once", "pause", "add_row", "write_row", "write_rows", "timed"]


class Load(NamedTuple):
    """So many jobs of one kind. `keyed`: each has a dedup key of its own, where the contender knows such a thing."""

    kind: Kind
    jobs: int
    keyed: bool = False
    body_bytes: int = 200

    @property
    def padding(self) -> str:
        """Makes the JSON of the arguments, a number of up to six digits among them, about as long as wanted."""
        return "x" * (self.body_bytes - 30)
