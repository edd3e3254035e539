"""The long run, at a size for every day; benchmarks/long.py has the whole of it."""

from __future__ import annotations

import cProfile
import sys
from pathlib import Path

import pytest

from robuststream.reporting import figures
from robuststream.reporting.report import write_report
from robuststream.study.plan import plan

FOLDER = Path(__file__).parent.parent / "benchmarks"
sys.path.insert(0, str(FOLDER))

import long  # noqa: E402


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the resident memory from /proc")
def test_memory_is_flat_over_runs() -> None:
    early, late = long.memory(32)
    assert late <= 1.05 * early


def test_base_values_sums_and_frequencies_do_not_drift() -> None:
    found = long.drift(3000)
    assert found.values <= 1e-6
    assert found.total <= 1e-6
    assert found.frequency <= 5


@pytest.mark.parametrize("work", ["plan", "report"])
def test_a_run_costs_no_more_among_many_to_plan_or_report(work: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted in calls, which are the same on a busy machine; benchmarks/long.py has the seconds, of ten thousand folders.

    Work that grows with the square of the runs would make the next 640 runs cost three times as much each as the 160 before.
    """
    monkeypatch.setattr(figures, "save", lambda *_: None)  # drawing does not depend on how many runs a line is the mean of
    few, more, many = (_calls(work, tmp_path / str(runs), runs) for runs in (160, 320, 960))
    assert (many - more) / 640 < 1.3 * (more - few) / 160


def _calls(work: str, folder: Path, runs: int) -> int:
    study = long.finished_study(folder, runs)
    profile = cProfile.Profile()
    if work == "plan":
        assert all(profile.runcall(lambda: [run.finished for run in plan(study, folder)]))
    else:
        profile.runcall(write_report, folder)
    return sum(entry.callcount for entry in profile.getstats())
