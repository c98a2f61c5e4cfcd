"""What the person at the terminal sees: lines with the seconds since the start, and a bar while months are scored."""

import time
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

PLAIN_WIDTH = 160  # columns; without a terminal nothing has to be broken into lines


class Terminal:
    """Output of one `make run`; plain lines when it goes to a file or a pipe."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._console = Console(highlight=False)
        if not self._console.is_terminal:
            self._console = Console(highlight=False, width=PLAIN_WIDTH, force_terminal=False)

    def step(self, text: str) -> None:
        """Something is done or begins."""
        self._print(f"[dim]{self.seconds():5.1f} s[/dim]  {escape(text)}")

    def line(self, text: str = "") -> None:
        self._print(escape(text))

    def error(self, text: str) -> None:
        self._print(f"[bold red]error:[/bold red] {escape(text)}")

    def table(self, table: Table) -> None:
        self._console.print(table)

    def seconds(self) -> float:
        return time.monotonic() - self._started

    def months(self) -> "MonthsBar":
        return MonthsBar(self, self._console)

    def _print(self, markup: str) -> None:
        # Paths are absolute inside, because processes have other current folders; people need the end only.
        self._console.print(markup.replace(f"{Path.cwd()}/", ""), soft_wrap=True)


class MonthsBar:
    """How many months are scored: a bar on a terminal, else a line at each change. A context manager."""

    def __init__(self, terminal: Terminal, console: Console) -> None:
        self._terminal = terminal
        self._shown = ""
        self._progress: Progress | None = None
        if console.is_terminal:
            columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self._progress = Progress(
                TextColumn("months scored"),
                *columns,
                TextColumn("{task.description}"),
                console=console,
                transient=True,
            )
            self._task = self._progress.add_task("", total=None)

    def __enter__(self) -> "MonthsBar":
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def show(self, done: int, total: int, running: list[str]) -> None:
        description = "now: " + ", ".join(running) if running else ""
        if self._progress is not None:
            self._progress.update(
                self._task, completed=done, total=total, description=escape(description)
            )
        elif (now := f"{done} of {total} months scored") != self._shown:
            self._shown = now
            self._terminal.step(f"{now}  {description}".rstrip())
