"""The long run, at a size for every day; benchmarks/long.py has the whole of it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

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


def test_thousands_of_run_folders_are_planned_and_reported_in_seconds(tmp_path: Path) -> None:
    """A tenth of ten thousand; most of a report of this size is drawing, which does not grow with the runs."""
    planned, reported = long.folders(tmp_path, 1000)
    assert planned < 1.0
    assert reported < 20.0
