"""Shared by all tests: one thread, as every run has, and no stray data folder; a command without a process of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from _commands import Here, in_folder


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Here:
    return in_folder(tmp_path, monkeypatch, capfd)
