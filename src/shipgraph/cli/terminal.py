"""Progress drawn on a terminal; imported only there, because rich takes longer than most commands."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from shipgraph.events import Emit, Event, Failed, Finished, LogLine, Note, Progressed, Started

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LINE = 70


@contextmanager
def drawn_progress(clean: Callable[[str], str] = str) -> Iterator[Emit]:
    """A line for each running task with its last log line or its bar; finished ones scroll away above.

    Args:
        clean: takes secrets out of text.
    """

    def shown(text: str) -> str:
        return escape(clean(text))

    console = Console(stderr=True, highlight=False)
    progress = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[line]}", style="dim"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )
    running: dict[str, TaskID] = {}

    def end(task: str, text: str) -> None:
        if task in running:
            progress.remove_task(running.pop(task))
        progress.console.print(text)

    def emit(event: Event) -> None:
        match event:
            case Started(task, title, total):
                running[task] = progress.add_task(shown(title), total=total, line="")
            case Progressed(task, done, total) if task in running:
                progress.update(running[task], completed=done, total=total, line=f"{done / 1e6:.0f} MB")
            case LogLine(task, line) if task in running:
                progress.update(running[task], line=escape(clean(line.strip())[:LINE]))
            case Finished(task, title, outcome, seconds):
                time = f" [dim]{seconds:.1f} s[/]" if seconds else ""
                end(task, f"[green]✓[/] {shown(title)}: {shown(outcome)}{time}")
            case Failed(task, title, reason, log):
                place = f" [dim](log: {shown(log)})[/]" if log else ""
                end(task, f"[red]✗[/] {shown(title)}: {shown(reason.splitlines()[0])}{place}")
            case Note(text, warning):
                progress.console.print(f"[yellow]![/] {shown(text)}" if warning else f"[dim]·[/] {shown(text)}")
            case _:
                pass

    with progress:
        yield emit
