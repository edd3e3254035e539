"""The command line, one function per command. What needs torch is imported inside the command that needs it."""

from __future__ import annotations

import keyword
import os
import shlex
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from robuststream import __version__
from robuststream.errors import UserError, printable

app = typer.Typer(
    help="Which sampler makes training faster, and does it still do so when labels lie or inputs are attacked?",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=True,
)

Overrides = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="settings to override, as in seeds=10")]


def main() -> None:
    """Entry point: a user's mistake is one line and exit code 2; a disk that refuses is one line and exit code 1."""
    try:
        app()
    except UserError as error:
        print(f"robuststream: {printable(error)}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        where = f"{error.filename}:" if error.filename is not None else ""
        print(f"robuststream: {printable(where)} {error.strerror or error}; what was finished is kept", file=sys.stderr)
        sys.exit(1)


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="print the version and stop")] = False) -> None:
    if version:
        print(__version__)
        raise typer.Exit


@app.command()
def bench(
    study: Annotated[str, typer.Argument(help="a shipped study's name, or a file.yaml of your own")],
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option(help="where results go (default: reports/STUDY)")] = None,
    jobs: Annotated[int, typer.Option(min=0, help="runs side by side (0: one per core; on a GPU so if small)")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="threads of each run; part of what makes bits repeat")] = 1,
    timed: Annotated[bool, typer.Option("--timed", help="one run at a time, so that seconds may be quoted")] = False,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="stop at the first run that fails, saving the others")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print the plan and an estimate of the time, run nothing")] = False,
) -> None:
    """Run a study: skip what is finished, resume what is not, write the report."""
    from robuststream import records, registry
    from robuststream.data import catalog
    from robuststream.studies import load_study

    settings = load_study(study, overrides or [])
    registry.require("models", settings.recipe.model)
    catalog.require(settings.recipe.data)
    folder = out or Path("reports") / settings.name
    _refuse_folder(folder)

    from robuststream.study import nursery

    if not dry_run:
        if folder.exists():
            with records.alone(folder):  # asked again when it counts; so far nobody has waited for torch
                pass
        nursery.warm()
        from robuststream.reporting import figures, report  # noqa: F401 -- slow to import too, and it is done beside torch

    from robuststream.study.bench import Bench

    options = ["--timed"] * timed + ["--jobs", str(jobs)] * (jobs > 0) + ["--threads", str(threads)] * (threads > 1)
    command = shlex.join(["robuststream", "bench", study, *(overrides or []), *options])
    bench = Bench(settings, folder, command, jobs=1 if timed else jobs, threads=threads, fail_fast=fail_fast)
    sys.exit(bench.dry_run() if dry_run else bench.run())


@app.command()
def tune(
    study: Annotated[str, typer.Argument(help="a shipped study's name, or a file.yaml of your own")],
    overrides: Overrides = None,
    trials: Annotated[int, typer.Option(min=2, help="settings tried of every sampler, the study's own among them")] = 8,
    trial_seeds: Annotated[int, typer.Option(min=1, help="seeds of every trial; none of them is among the study's")] = 2,
    search: Annotated[Literal["random", "tpe"], typer.Option(help="how settings are suggested; tpe needs optuna")] = "random",
    out: Annotated[Path | None, typer.Option(help="where results go (default: reports/STUDY-tuning)")] = None,
    jobs: Annotated[int, typer.Option(min=0, help="runs side by side (0: one per core; on a GPU so if small)")] = 0,
) -> None:
    """Give every sampler the same number of trials, chosen on validation; write the tuned study, and what the tuning cost."""
    from robuststream import registry
    from robuststream.data import catalog
    from robuststream.studies import load_study

    settings = load_study(study, overrides or [])
    registry.require("models", settings.recipe.model)
    catalog.require(settings.recipe.data)
    folder = out or Path("reports") / f"{settings.name}-tuning"
    _refuse_folder(folder)

    from robuststream.study.tuning import Tuning

    options = ["--trials", str(trials), "--trial-seeds", str(trial_seeds), "--search", search]
    command = shlex.join(["robuststream", "tune", study, *(overrides or []), *options])
    sys.exit(Tuning(settings, folder, command, trials, trial_seeds, search, jobs).run())


@app.command()
def attack(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="a finished run's folder, as in reports/STUDY/runs/NAME")],
    eps: Annotated[str, typer.Option(help="radius of the L-infinity ball on images in [0, 1], as in 8/255 or 0.1")],
    attacks: Annotated[str, typer.Option("--attack", help="names with commas: fgsm, pgd, apgd-ce, square, autoattack")] = "pgd",
    examples: Annotated[int, typer.Option(help="at most so many test examples, evenly spaced")] = 1000,
) -> None:
    """Attack a finished run's network and add its robust accuracy to the run's record."""
    from robuststream.reporting.robustness import told
    from robuststream.study.attacking import attack_run

    for line in told(attack_run(run, attacks, eps, examples)):
        print(line)
    if (run.parent.parent / "study.json").exists():
        print(f"recorded; try: robuststream report {run.parent.parent}")


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="a study's folder, as in reports/noisy-labels")],
    watch: Annotated[bool, typer.Option("--watch", help="rebuild whenever runs finish, until all have or Ctrl-C")] = False,
    pdf: Annotated[bool, typer.Option("--pdf", help="figures as PDF too")] = False,
) -> None:
    """Rebuild a study's report (report.md, report.html, figures) from its run folders alone."""
    if watch:
        from robuststream.reporting.watch import watch as watch_study

        watch_study(folder, lambda line: print(line, flush=True), pdf=pdf)
        return
    from robuststream.reporting.report import write_report

    print(write_report(folder, pdf))


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="a study's folder")],
    form: Annotated[str, typer.Option("--format", help="csv, parquet (a row per run), latex (main table), json (all)")] = "csv",
    out: Annotated[Path | None, typer.Option(help="the file to write (default: print)")] = None,
) -> None:
    """Give a study's results to other tools."""
    from robuststream.reporting.export import export as export_study

    text = export_study(folder, form, out)
    print(out if text is None else text, end="\n" if text is None else "")


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(metavar="A", help="a study's folder")],
    second: Annotated[str, typer.Argument(metavar="B", help="another study's folder, or a sampler of A")],
    third: Annotated[str | None, typer.Argument(metavar="[C]", help="another sampler of A")] = None,
) -> None:
    """Say what differs in settings and in outcome: of two studies, or of two samplers of one (compare STUDY plb peb)."""
    from robuststream.reporting.comparison import compare_samplers, compare_studies

    print(compare_studies(first, Path(second)) if third is None else compare_samplers(first, second, third), end="")


@app.command()
def merge(
    out: Annotated[Path, typer.Argument(help="the new study's folder")],
    parts: Annotated[list[Path], typer.Argument(help="folders of the same study from several machines")],
) -> None:
    """Put the finished runs of several machines together, or refuse what does not fit."""
    from robuststream.reporting.merge import merge as merge_studies

    finished, planned = merge_studies(out, parts)
    print(f"{out}: {finished} of {planned} runs; try: robuststream report {out}")


@app.command("list")
def list_(
    what: Annotated[
        Literal["samplers", "learners", "scenarios", "datasets", "models", "attacks", "studies"],
        typer.Argument(help="what to list"),
    ],
) -> None:
    """Show names, one-line meanings, papers, cost per step, and parameters with their defaults."""
    from robuststream.listing import print_listing

    print_listing(what)


@app.command()
def check(
    plugin: Annotated[str | None, typer.Argument(help="path/to/file.py:Class, or a sampler's name")] = None,
    overrides: Overrides = None,
    list_checks: Annotated[bool, typer.Option("--list", help="name the checks and stop")] = False,
) -> None:
    """Run the public contract checks on a sampler: what `bench` relies on, one line each."""
    from robuststream import registry
    from robuststream.studies import parse_override

    if plugin is None and not list_checks:
        raise UserError("name a sampler to check, as path/to/file.py:Class, or pass --list")
    if plugin is not None:
        registry.require("samplers", plugin)
    for override in overrides or []:
        parse_override(override)

    from robuststream.study.checking import check_sampler, print_checks

    if plugin is None or list_checks:
        print_checks()
        return
    sys.exit(check_sampler(plugin, overrides or []))


@app.command()
def new(path: Annotated[Path, typer.Argument(help="the file to write, as in mine.py")]) -> None:
    """Write a sampler to start from: a complete, working file."""
    from robuststream.listing import SAMPLER_TEMPLATE
    from robuststream.records import write_text

    if path.suffix != ".py":
        raise UserError(f"'{path}' is not a Python file's name; end it in .py")
    if path.exists():
        raise UserError(f"'{path}' exists already; nothing was written")
    if not path.parent.is_dir():
        raise UserError(f"'{path.parent}' is not a folder")
    class_name = "".join(word.capitalize() for word in path.stem.split("_"))
    if not class_name.isidentifier() or keyword.iskeyword(class_name):
        raise UserError(f"'{path.stem}' cannot name a class; use letters, digits and _")
    write_text(path, SAMPLER_TEMPLATE.replace("Mine", class_name))
    print(f"{path} written; try:\n  robuststream check {path}:{class_name}")
    print(f"  robuststream bench noisy-labels samplers=uniform,{path}:{class_name}")


@app.command()
def doctor() -> None:
    """Say what this machine offers: versions, device, cores, data sets at hand."""
    from robuststream.listing import print_doctor

    print_doctor()


def _refuse_folder(folder: Path) -> None:
    """A results folder of other rules, or one that cannot be written, is refused before anything else happens."""
    from robuststream.records import read_rules

    if (folder / "study.json").exists():
        read_rules(folder)
    place = folder
    while not place.exists():
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise UserError(f"results cannot be written to {folder} ({place} is not a writable folder); choose another with --out")


if __name__ == "__main__":
    main()
