"""What the demo shows: events as lines that stay, and on a terminal three bars below them."""

import sys
import time
from types import TracebackType
from typing import Self

from examples.balance import Balance
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

WIDTH_MAX = 100
BARS = ("rows", "certificates", "mails")
ALWAYS_ZERO = ("lost", "done twice")


class Screen:
    """Without a terminal there are only the lines."""

    def __init__(self, totals: dict[str, int]) -> None:
        self._started = time.monotonic()
        self._console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
        if self._console.is_terminal:
            self._console.width = min(WIDTH_MAX, self._console.width)
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
        self._console.print(f"[bold]{lines[0]}[/bold]")
        for line in lines[1:]:
            self._console.print(line)
        self._console.print()

    def say(self, what: str, *, style: str = "") -> None:
        """One event, with the seconds since the start."""
        seconds = f"{time.monotonic() - self._started:5.1f} s"
        self._console.print(
            f"[dim]{seconds}[/dim]  " + (f"[{style}]{escape(what)}[/{style}]" if style else escape(what))
        )

    def show(self, counts: dict[str, int]) -> None:
        for name, count in counts.items():
            self._progress.update(self._bars[name], completed=count)

    def balance(self, balance: Balance) -> None:
        """The result; what must be zero is coloured by whether it is."""
        self._progress.stop()
        self._console.print()
        self._console.print("[bold]The balance[/bold], counted from the effects by a judge outside of the platform")
        self._console.print()
        for line in balance.lines:
            style = ("bold green" if line.figure == 0 else "bold red") if line.name in ALWAYS_ZERO else "bold"
            self._console.print(f"  {line.name:<19} [{style}]{line.figure:>6}[/{style}]  [dim]{line.source}[/dim]")
        self._console.print()
        for wrong in balance.wrong:
            self._console.print(f"[bold red]wrong:[/bold red] {escape(wrong)}")
        seconds = time.monotonic() - self._started
        if balance.wrong:
            self._console.print(f"[bold red]{balance.verdict}[/bold red] {seconds:.0f} s")
        else:
            self._console.print(f"[bold green]{balance.verdict}[/bold green] {seconds:.0f} s")
