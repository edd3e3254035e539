"""What a command says, without a process of its own: for commands that run nothing."""

from __future__ import annotations

import sys
from pathlib import Path
from subprocess import CompletedProcess
from typing import Protocol

import pytest

from robuststream.cli import main


class Here(Protocol):
    """`robuststream` with these arguments, in the folder of the test."""

    def __call__(self, *arguments: str | Path) -> CompletedProcess[str]: ...


def in_folder(folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Here:
    def run(*arguments: str | Path) -> CompletedProcess[str]:
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", ["robuststream", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        code, said = end.value.code, capfd.readouterr()
        assert code is None or isinstance(code, int)
        return CompletedProcess(sys.argv, code or 0, said.out, said.err)

    return run
