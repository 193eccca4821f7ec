"""What the demo shows: events as lines that stay, and on a terminal three bars below them."""

import time
from types import TracebackType
from typing import Self

from examples.balance import Balance, Line
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

WIDTH_MAX = 100
WIDTH_ELSEWHERE = 500  # a pipe or a file has no edge: one line stays one line
# With less room the sources of the figures go below them.
WIDTH_WITH_SOURCES = 70
BARS = ("rows", "certificates", "mails")
ALWAYS_ZERO = ("lost", "done twice")


class Screen:
    """Without a terminal there are only the lines. On a narrow one they are folded under their own beginning."""

    def __init__(self, totals: dict[str, int]) -> None:
        self._started = time.monotonic()
        self._console = Console(highlight=False, markup=False)
        self._console.width = min(WIDTH_MAX, self._console.width) if self._console.is_terminal else WIDTH_ELSEWHERE
        self._progress = Progress(
            TextColumn("  {task.description:<14}"),
            BarColumn(bar_width=40, complete_style="cyan", finished_style="green"),
            MofNCompleteColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
            transient=True,
            refresh_per_second=8,
        )
        self._bars: dict[str, TaskID] = {name: self._progress.add_task(name, total=totals[name]) for name in BARS}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def title(self, *lines: str) -> None:
        self._console.print()
        self._console.print(lines[0], style="bold")
        for line in lines[1:]:
            self._console.print(line)
        self._console.print()

    def say(self, what: str, *, style: str = "") -> None:
        """One event, with the seconds since the start."""
        self._print_row((f"{self._seconds:5.1f} s", "dim"), (what, style))

    def show(self, counts: dict[str, int]) -> None:
        for name, count in counts.items():
            self._progress.update(self._bars[name], completed=count)

    def balance(self, balance: Balance) -> None:
        """The result; what must be zero is coloured by whether it is."""
        self._progress.stop()
        self._console.print()
        self._console.print("The balance, counted from the effects by a judge outside of the platform", style="bold")
        self._console.print()
        for line in balance.lines:
            self._print_line(line)
        self._console.print()
        for wrong in balance.wrong:
            self._print_row(("wrong:", "bold red"), (wrong, ""))
        self._console.print(
            f"{balance.verdict} {self._seconds:.0f} s", style="bold red" if balance.wrong else "bold green"
        )

    @property
    def _seconds(self) -> float:
        return time.monotonic() - self._started

    def _print_line(self, line: Line) -> None:
        style = ("bold green" if line.figure == 0 else "bold red") if line.name in ALWAYS_ZERO else "bold"
        name, figure, source = (f"  {line.name:<19}", ""), (f"{line.figure:>6}", style), (line.source, "dim")
        if self._console.width >= WIDTH_WITH_SOURCES:
            self._print_row(name, figure, source)
        else:
            self._print_row(name, figure)
            self._print_row(("   ", ""), source)

    def _print_row(self, *cells: tuple[str, str]) -> None:
        """Texts with their styles, side by side; only the last one is folded."""
        row = Table.grid(padding=(0, 2, 0, 0), pad_edge=False)
        for _ in cells[:-1]:
            row.add_column(no_wrap=True)
        row.add_row(*(Text(text, style) for text, style in cells))
        self._console.print(row)
