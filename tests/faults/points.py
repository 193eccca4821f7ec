"""Arming the failpoints of processes that were started with them."""

from pathlib import Path

from tests.waiting import until

from penstock.ledger.failpoints import VARIABLE, Deed, Failpoint

REACHED_SECONDS_MAX = 30.0


class Points:
    """A folder of armed points."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "failpoints"
        self._folder.mkdir()

    @property
    def environment(self) -> dict[str, str]:
        """What a process must be started with."""
        return {VARIABLE: str(self._folder)}

    def arm(self, point: Failpoint, deed: Deed) -> None:
        """The next process that comes there does it; what was done at this point before is forgotten."""
        for taken in self._folder.glob(f"{point}.*"):
            taken.unlink()
        whole = self._folder / f".{point}"
        whole.write_text(deed)
        whole.rename(self._folder / point)

    def reached(self, point: Failpoint) -> int | None:
        """The pid of who has come there since it was armed."""
        return next((int(taken.suffix[1:]) for taken in self._folder.glob(f"{point}.*")), None)

    def await_reached(self, point: Failpoint) -> int:
        """The pid of who has come there, as soon as somebody has."""
        return (
            until(lambda: self.reached(point), timeout_seconds=REACHED_SECONDS_MAX, what=f"{point} to be reached") or 0
        )
