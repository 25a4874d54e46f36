"""Listeners of the command line: progress bars for people, JSON lines for machines, or nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TaskID, TextColumn
from rich.text import Text

from deepbio import events
from deepbio.cli.common import err, out
from deepbio.events import Event, Listener, Notice

__all__ = ["listening", "tell"]


@contextmanager
def listening(*, json: bool = False, quiet: bool = False) -> Iterator[Listener]:
    """Give the listener that a command's switches ask for.

    Parameters
    ----------
    json : bool
        Every event is one line of JSON on stdout.
    quiet : bool
        Only warnings are told (on stderr).
    """
    if json:
        yield _json_lines
    elif quiet or not err.is_terminal:
        yield _Notices(quiet)
    else:
        with _bars() as bars:
            yield _Bars(bars)


def tell(line: str) -> None:
    """Print a line of results while bars may be on the screen, without breaking them."""
    (err if err.is_terminal and out.is_terminal else out).print(line)


def _json_lines(event: Event) -> None:
    sys.stdout.write(events.to_json(event) + "\n")
    sys.stdout.flush()


class _Notices:
    """Notices as lines on stderr, each once; no bars."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._told: set[str] = set()

    def __call__(self, event: Event) -> None:
        if isinstance(event, Notice) and event.message not in self._told:
            self._told.add(event.message)
            if event.level == "warning" or not self._quiet:
                err.print(_styled(event))


class _Bars(_Notices):
    """One bar per stage; a stage that starts again (next file, next epoch) uses its bar again."""

    def __init__(self, bars: Progress) -> None:
        super().__init__(quiet=False)
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, event: Event) -> None:
        super().__call__(event)
        if isinstance(event, Notice):
            return
        if event.stage not in self._tasks:
            self._tasks[event.stage] = self._bars.add_task(event.stage, total=None, item="", eta=None)
        self._bars.update(
            self._tasks[event.stage],
            completed=event.current,
            total=event.total or None,
            item=event.item,
            eta=event.eta,
        )


def _styled(notice: Notice) -> Text:
    if notice.level == "warning":
        return Text.assemble(("Warning: ", "bold yellow"), notice.message)
    return Text(notice.message, style="dim")


def _bars() -> Progress:
    columns = (
        TextColumn("{task.description:>9}"),
        BarColumn(30),
        MofNCompleteColumn(),
        _Eta(),
        TextColumn("{task.fields[item]}"),
    )
    return Progress(*columns, console=err, transient=True)


class _Eta(ProgressColumn):
    """The time that is left, as the event says; rich's own guess does not know batches of tiles."""

    def render(self, task: object) -> Text:
        eta = task.fields["eta"]  # type: ignore[attr-defined]
        if eta is None:
            return Text("     ")
        minutes, seconds = divmod(round(eta), 60)
        return Text(f"{minutes:2d}:{seconds:02d}", style="progress.remaining")
