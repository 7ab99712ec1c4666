"""A search as it goes: bars on stderr, or lines where that is no terminal."""

import sys

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from bnn_compiler.closing import Closing
from bnn_compiler.search.loop import Progress as State


class Live(Closing):
    """Three bars: what is prepared or trained, generations, and candidates of the generation."""

    def __init__(self, quiet: bool = False) -> None:
        self._console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            console=self._console,
            disable=quiet or not sys.stderr.isatty(),
        )
        self._lines = not quiet and not sys.stderr.isatty()
        self._tasks: dict[str, TaskID] = {}
        self._said: set[str] = set()
        self._bar.start()

    def say(self, text: str) -> None:
        """One line that stays."""
        if self._lines:
            print(text, file=sys.stderr, flush=True)
        elif not self._bar.disable:
            self._bar.console.print(text, highlight=False, markup=False)

    def stage(self, what: str, done: int, total: int) -> None:
        """How far something has come; a line when it begins and when it ends."""
        line = f"{what}: {done} of {total}"
        if self._lines and done in (0, total) and line not in self._said:
            self._said.add(line)
            self.say(line)
        self._show(what, what, done, total)

    def search(self, state: State) -> None:
        """A generation has ended, or the search begins."""
        if self._lines:
            self.say(f"generation {state.generation} of {state.generations}: {words(state)}")
        self._show(
            "generation", f"generation | {words(state)}", state.generation, state.generations
        )

    def candidates(self, done: int, total: int) -> None:
        """Candidates of this generation that are judged."""
        self._show("candidates", "candidates", done, total)

    def _show(self, name: str, description: str, done: int, total: int) -> None:
        if name not in self._tasks:
            self._tasks[name] = self._bar.add_task(description, total=total)
        self._bar.update(self._tasks[name], description=description, completed=done, total=total)

    def close(self) -> None:
        """Take the bars down."""
        self._bar.stop()


def words(state: State) -> str:
    """The state for a reader: best accuracy, budget used, time left."""
    parts = [f"{state.candidates} candidates"]
    if state.best is not None and state.used is not None:
        parts.append(f"best {state.best:.1%} at {state.used:.0%} of the budget")
    if state.lost:
        parts.append(f"{state.lost} lost")
    if state.seconds_left:
        parts.append(f"{duration(state.seconds_left)} left")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """ "40 s", "12 min", "3.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
