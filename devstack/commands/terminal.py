"""What the person at the terminal sees: lines with the seconds since the start, and a bar while
months are scored.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

ShowMonths = Callable[[int, int, list[str]], None]
"""Gets how many months are scored, how many there are, and the keys of those that are being scored."""

PLAIN_WIDTH = 160  # columns; without a terminal, lines need no wrapping


class Terminal:
    """Output of one `make run`; plain lines when it goes to a file or a pipe."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._console = Console(highlight=False)
        if not self._console.is_terminal:
            self._console = Console(highlight=False, width=PLAIN_WIDTH, force_terminal=False)

    def step(self, text: str) -> None:
        """Print a line with the seconds since the start."""
        self._print(f"[dim]{self.seconds():5.1f} s[/dim]  {escape(text)}")

    def line(self, text: str = "") -> None:
        self._print(escape(text))

    def error(self, text: str) -> None:
        self._print(f"[bold red]error:[/bold red] {escape(text)}")

    def table(self, table: Table) -> None:
        self._console.print(table)

    def seconds(self) -> float:
        return time.monotonic() - self._started

    @contextmanager
    def months(self) -> Iterator[ShowMonths]:
        """Show how many months are scored: a bar on a terminal, otherwise a line at each change."""
        if not self._console.is_terminal:
            yield self._lines_of_months()
            return
        columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        title, now = TextColumn("months scored"), TextColumn("{task.description}")
        with Progress(title, *columns, now, console=self._console, transient=True) as progress:
            bar = progress.add_task("", total=None)

            def show(done: int, total: int, running: list[str]) -> None:
                description = escape(_now(running))
                progress.update(bar, completed=done, total=total, description=description)

            yield show

    def _lines_of_months(self) -> ShowMonths:
        shown = ""

        def show(done: int, total: int, running: list[str]) -> None:
            nonlocal shown
            if (line := f"{done} of {total} months scored") != shown:
                shown = line
                self.step(f"{line}  {_now(running)}".rstrip())

        return show

    def _print(self, markup: str) -> None:
        # Paths are absolute, because processes run in other folders; people read them relative to
        # their own.
        self._console.print(markup.replace(f"{Path.cwd()}/", ""), soft_wrap=True)


def _now(running: list[str]) -> str:
    return "now: " + ", ".join(running) if running else ""
