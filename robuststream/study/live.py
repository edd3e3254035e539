"""The live view of a study: runs done of all, time left, and every current run's accuracy against its budget."""

from __future__ import annotations

import time
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from robuststream.study.execute import Happening
from robuststream.study.planned import PlannedRun


@dataclass
class _Current:
    run: PlannedRun
    spent: float = 0.0
    accuracy: float | None = None
    diverged: bool = False


class LiveView:
    """A context manager that is told what happens. Where there is no terminal it prints a line every tenth of the study."""

    def __init__(self, console: Console, total: int, already: int) -> None:
        self.console, self.total, self.already = console, total, already
        self.finished, self.failed = 0, 0
        self.notice = ""
        self._current: dict[str, _Current] = {}
        self._began = time.monotonic()
        self._said = 0
        self._live = Live(self, console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> LiveView:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.console.is_terminal:
            self._live.stop()

    def tell(self, happening: Happening) -> None:
        name = happening.run.name
        if happening.what == "started":
            self._current[name] = _Current(happening.run)
        elif happening.what == "evaluated":
            current = self._current[name]
            current.spent, current.accuracy = happening.detail["spent"], happening.detail["validation_accuracy"]
            if happening.detail["validation_loss"] is None and not current.diverged:
                current.diverged = True
                told = f"diverged: {name}: its loss is no finite number any more; it goes on, and the report flags it"
                self.console.print(told, style="yellow", markup=False, highlight=False)
        else:
            self._current.pop(name, None)
            self.finished += happening.what == "finished"
            self.failed += happening.what == "failed"
            self._say_progress()
        if happening.what == "failed":
            self.console.print(f"failed: {name}: {happening.detail}", style="red", markup=False, highlight=False)

    def seconds_left(self) -> float | None:
        """From the share of the work done so far; None before the first evaluation."""
        to_do = self.total - self.already
        done = self.finished + self.failed + sum(min(current.spent, 1.0) for current in self._current.values())
        elapsed = time.monotonic() - self._began
        return elapsed * (to_do - done) / done if done > 0 else None

    def __rich__(self) -> RenderableType:
        done = self.already + self.finished
        head = Table.grid(padding=(0, 1))
        head.add_row(
            ProgressBar(total=self.total, completed=done, width=30),
            Text(f"{done}/{self.total} runs"),
            Text(f"{self.failed} failed" if self.failed else "", style="red"),
            Text(f"{duration(self.seconds_left())} left"),
            Text(self.notice, style="yellow"),
        )
        rows = Table.grid(padding=(0, 1))
        for current in self._current.values():
            settings = current.run.settings
            accuracy = "" if current.accuracy is None else f"accuracy {current.accuracy:.3f}"
            rows.add_row(
                Text(f"  {settings.sampler.label} · {settings.scenario.label} · seed {settings.seed}"),
                ProgressBar(total=1.0, completed=min(current.spent, 1.0), width=16),
                Text(f"{min(current.spent, 1.0):4.0%} of the budget"),
                Text(accuracy),
            )
        return Group(head, rows)

    def _say_progress(self) -> None:
        done = self.already + self.finished
        if not self.console.is_terminal and done * 10 // self.total > self._said:
            self._said = done * 10 // self.total
            self.console.print(f"{done}/{self.total} runs, {duration(self.seconds_left())} left", highlight=False)


def duration(seconds: float | None) -> str:
    """In the words of a person: 3 s, 2 min 05 s, 1 h 20 min; … where it is not known."""
    if seconds is None:
        return "…"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"
