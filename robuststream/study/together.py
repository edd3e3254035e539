"""Runs of a study one after the other, each in all processes of a torchrun:

    torchrun --nproc-per-node 2 -m robuststream.study.together noisy-labels samplers=plb seeds=1 --out runs

Finished runs are skipped; `robuststream bench` with the same words then finds them done and reports.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.distributed as dist

from robuststream import records
from robuststream.errors import UserError
from robuststream.studies import load_study
from robuststream.study.plan import plan
from robuststream.study.planned import PlannedRun
from robuststream.study.process import settle
from robuststream.training.checkpoint import Checkpoints
from robuststream.training.loop import train
from robuststream.training.team import Processes


def main(given: Sequence[str] | None = None) -> None:
    """Every process of the torchrun calls this."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", help="a study's name or file")
    parser.add_argument("overrides", nargs="*", help="key=value")
    parser.add_argument("--out", type=Path, required=True, help="the study's folder, as for bench")
    chosen = parser.parse_args(given)
    try:
        runs = plan(load_study(chosen.study, chosen.overrides), chosen.out)
        if runs[0].settings.recipe.budget.unit == "seconds":
            raise UserError("budget=... seconds is not possible in several processes (each has a clock of its own)")
        device = _own_device(runs[0].settings.device)
        if device == "cpu":
            dist.init_process_group("gloo")
        else:
            dist.init_process_group("nccl", device_id=torch.device(device))
        for run in runs:
            _train(run, device)
    except UserError as error:
        parser.exit(2, f"{error}\n")
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _train(run: PlannedRun, device: str) -> None:
    """All train; the first process writes, the others into folders that they throw away."""
    team = Processes()
    finished = [run.finished]
    dist.broadcast_object_list(finished)  # what the first process sees, before it writes anything
    if finished[0]:
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        checkpoint = Checkpoints(run.folder)
        for path in (checkpoint.path, checkpoint.records):
            if path.exists():
                shutil.copy(path, folder)
        dist.barrier()
        if team.rank == 0:
            folder = run.folder
            folder.mkdir(parents=True, exist_ok=True)
            records.write_json(folder / "settings.json", run.settings.model_dump())
        train(run.settings.model_copy(update={"device": device}), folder, team=team)


def _own_device(device: str) -> str:
    """This process's, which it sets up before anything is sent: messages between GPUs go from and to the current one."""
    settle(threads=1)
    if device == "cpu":
        return device
    own = f"cuda:{os.environ['LOCAL_RANK']}"
    torch.cuda.set_device(own)
    return own


if __name__ == "__main__":
    main()
