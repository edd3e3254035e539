"""`bench`: plan, skip what is finished, execute the rest under a live view, report."""

from __future__ import annotations

import signal
from contextlib import suppress
from pathlib import Path

from rich.console import Console

from robuststream import records
from robuststream.config import Budget, Study
from robuststream.study import nursery
from robuststream.study.execute import Executor
from robuststream.study.live import LiveView, duration
from robuststream.study.planned import PlannedRun, study_settings

DONE, SOME_FAILED, INTERRUPTED = 0, 1, 130


class Bench:
    """One call of `bench`. Finished run folders are never touched, so nothing already computed is lost."""

    def __init__(self, study: Study, folder: Path, command: str, jobs: int, threads: int, fail_fast: bool = False) -> None:
        self.folder, self.command = folder, command
        self.console = Console(highlight=False, markup=False)
        self.study, self.runs, at_once = nursery.ask(_lay_out, study, folder)
        self.to_do: list[PlannedRun] = []
        self.jobs = jobs or at_once
        self.threads, self.fail_fast = threads, fail_fast

    def run(self) -> int:
        """Execute and report; the exit code says whether all is done (0), some failed (1), or it was interrupted (130)."""
        records.make_folder(self.folder)
        with records.alone(self.folder):
            return self._run_alone()

    def _run_alone(self) -> int:
        """What is left to do is asked once nobody else can change it."""
        self.to_do = self._unfinished()
        records.sweep(self.folder)
        records.write_json(self.folder / "study.json", study_settings(self.study, self.runs, self.command))
        self._introduce()
        failed, interrupts = self._execute()
        if interrupts < 2:  # at the second Ctrl-C nobody waits for a report
            self._report()
        if interrupts:
            self.console.print("stopped; the same command goes on from here", style="yellow")
            return INTERRUPTED
        if failed:
            self._tell_failed(failed)
        return SOME_FAILED if failed else DONE

    def _unfinished(self) -> list[PlannedRun]:
        return [run for run in self.runs if not run.finished]

    def _tell_failed(self, failed: dict[str, str]) -> None:
        """Once more at the end, where they are not lost among other lines."""
        self.console.print(f"{len(failed)} of {len(self.runs)} runs failed; the same command tries them again:")
        for name, reason in failed.items():
            self.console.print(f"  {name}: {reason}", style="red", markup=False, soft_wrap=True)

    def dry_run(self) -> int:
        """Print every run and whether it is done, and how long the rest will take."""
        self.to_do = self._unfinished()
        left = {run.name for run in self.to_do}
        for run in self.runs:
            failure = records.read_failure(run.folder) if run.name in left else ""
            told = f" (failed when last tried: {failure})" if failure else ""
            self.console.print(f"{'to do  ' if run.name in left else 'done   '} {run.name}{told}", markup=False, soft_wrap=True)
        seconds = nursery.ask(_estimate, self.to_do, self.jobs, self.threads)
        without = " and without the attacks at the end of each" if self.study.recipe.robust else ""
        self.console.print(
            f"{len(self.runs)} runs, {len(self.runs) - len(self.to_do)} done; the others take about "
            f"{duration(seconds)} with {self.jobs} side by side (from the first steps of one run{without}); "
            f"results go to {self.folder}"
        )
        return DONE

    def _introduce(self) -> None:
        study = self.study
        self.console.print(
            f"{study.name}: {len(study.samplers)} samplers x {len(study.scenarios)} scenarios x {len(study.seeds)} seeds"
            f"{f' x {len(study.budgets)} budgets' if study.budgets else ''} = {len(self.runs)} runs of "
            f"{'up to ' if study.budgets else ''}{self._largest()} on {study.recipe.data} ({study.recipe.name}); "
            f"{len(self.runs) - len(self.to_do)} done, {self.jobs} side by side"
        )

    def _execute(self) -> tuple[dict[str, str], int]:
        """What failed and why, and how often Ctrl-C was pressed."""
        failed: dict[str, str] = {}
        if not self.to_do:
            return failed, 0
        executor = Executor(self.jobs, self.threads, self.study.run_limit)
        view = LiveView(self.console, total=len(self.runs), already=len(self.runs) - len(self.to_do))
        interrupts = _Interrupts(executor, view)
        with interrupts, view, suppress(KeyboardInterrupt):
            for happening in executor.execute(self.to_do):
                view.tell(happening)
                if happening.what == "failed":
                    failed[happening.run.name] = happening.detail
                    records.note_failure(happening.run.folder, happening.detail)
                    if self.fail_fast:
                        view.notice = "stopping, since a run failed"
                        executor.stop()
        return failed, interrupts.count

    def _report(self) -> None:
        from robuststream.reporting.report import write_report
        from robuststream.reporting.terminal import summary_table

        path = write_report(
            self.folder,
            each=nursery.side_by_side,
            summarised=lambda summary: self.console.print(summary_table(summary)),
        )
        self.console.print(f"report: {path}", soft_wrap=True)

    def _largest(self) -> Budget:
        return max((run.settings.recipe.budget for run in self.runs), key=lambda budget: budget.amount)


def _lay_out(study: Study, folder: Path) -> tuple[Study, list[PlannedRun], int]:
    """The study with its placebos, its runs, which can be set up (else UserError), and how many of them go side by side."""
    from robuststream.study.plan import plan, with_placebos
    from robuststream.study.preflight import preflight

    study = with_placebos(study)
    runs = plan(study, folder)
    return study, runs, preflight(runs)


def _estimate(runs: list[PlannedRun], jobs: int, threads: int) -> float | None:
    from robuststream.study.preflight import estimate

    return estimate(runs, jobs, threads)


class _Interrupts:
    """Ctrl-C once: finish the step, save, stop. Twice: stop at once."""

    def __init__(self, executor: Executor, view: LiveView) -> None:
        self.executor, self.view, self.count = executor, view, 0

    def __enter__(self) -> None:
        self._before = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, *_: object) -> None:
        self.count += 1
        if self.count > 1:
            raise KeyboardInterrupt
        self.view.notice = "stopping after the current steps (again: at once)"
        self.executor.stop()
