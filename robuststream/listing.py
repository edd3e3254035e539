"""What `list`, `doctor` and `new` show: read from the plug-ins themselves, typed nowhere else."""

from __future__ import annotations

import inspect
import os
import platform
import re
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from robuststream import registry
from robuststream.hyperparameters import Hyperparameters, allowed

SAMPLER_TEMPLATE = '''\
"""Draw in proportion to how close the call was."""

from dataclasses import dataclass

from torch import Tensor

from robuststream.contracts import Signals
from robuststream.samplers import Streaming


@dataclass
class Mine(Streaming):
    """Draw in proportion to exp(-gain * |margin|): examples near the decision border come more often.

    Paper: none; a sampler to start from.
    Cost: a uniform step; N forwards once.
    Deviations: none.
    """

    gain: float = 2.0

    def fresh_values(self, signals: Signals) -> Tensor:
        return (-self.gain * signals.margin.abs()).exp()
'''


def print_listing(what: str) -> None:
    """Every name of a kind with its meaning, source, cost and parameters."""
    console = Console(highlight=False)
    for title, facts in {"datasets": _datasets, "models": _models, "attacks": _attacks, "studies": _studies}.get(
        what, lambda: _plugins(what)
    )():
        console.print(f"[bold]{escape(title)}[/bold]", soft_wrap=True)
        for fact in facts:
            console.print(f"    {escape(fact)}", soft_wrap=True)


def print_doctor() -> None:
    """Versions, device, cores and the data sets at hand."""
    import torch
    import torchvision

    from robuststream import __version__
    from robuststream.data import catalog
    from robuststream.entropy import backend
    from robuststream.study.nursery import cores
    from robuststream.sumtree import SumTree

    folder, tree = os.environ.get("ROBUSTSTREAM_DATA"), SumTree(1)
    cuda = torch.cuda.get_device_name() if torch.cuda.is_available() else "none; runs use the CPU"
    found = [name for name in catalog.names() if folder and (Path(folder) / f"{name}.npz").is_file()]
    lines = {
        "robuststream": f"{__version__} in {Path(__file__).parent}",
        "Python": f"{platform.python_version()} on {platform.platform()}",
        "torch, torchvision": f"{torch.__version__}, {torchvision.__version__}",
        "GPU": cuda,
        "cores": str(cores()),
        "sum tree": f"{tree.backend} {tree.variant}" if tree.variant else f"{tree.backend} (no native library was built)",
        "entropy": backend(),
        "ROBUSTSTREAM_DATA": folder or "not set: data sets other than digits are downloaded by torchvision",
        "arrays there": ", ".join(found) or "none",
    }
    for name, value in lines.items():
        print(f"{name + ':':<20}{value}")


Entry = tuple[str, list[str]]


def _plugins(kind: str) -> list[Entry]:
    from robuststream.contracts import Learner, Sampler, Scenario

    base = {"samplers": Sampler, "learners": Learner, "scenarios": Scenario}[kind]
    entries = []
    for name in registry.names(kind):
        cls = registry.load(kind, name, base)
        meaning, facts = read_docstring(cls)
        if issubclass(cls, Sampler) and (waits := cls().waits_for_host):
            facts.append(f"Waits for the device: {waits}")
        entries.append((f"{name}: {meaning}", facts + _parameters(cls)))
    return entries + _presets(kind)


def _presets(kind: str) -> list[Entry]:
    from robuststream.studies import presets

    return [
        (f"{kind}={label}: a preset", [", ".join(f"{key}: {value}" for key, value in settings.items())])
        for label, settings in presets(kind).items()
    ]


def _parameters(cls: type[Hyperparameters]) -> list[str]:
    lines = []
    for field in cls.fields():
        default = cls().settings()[field.name]
        shown = "null" if default is None else str(default).lower() if isinstance(default, bool) else str(default)
        limits = f" ({allowed(field.metadata)})" if allowed(field.metadata) else ""
        lines.append(f"{field.name}: {shown}{limits}  {field.metadata.get('help', '')}".rstrip())
    return lines


def _models() -> list[Entry]:
    from torch import nn

    from robuststream.models._build import parameters_of

    entries = []
    for name in registry.names("models"):
        cls = registry.load("models", name, nn.Module)
        meaning, facts = read_docstring(cls)
        entries.append((f"{name}: {meaning}", facts + [f"{key}: {default}" for key, _, default in parameters_of(cls)]))
    return entries


def _attacks() -> list[Entry]:
    from robuststream.attacks import MEANINGS, Strength

    entries = [(f"{name}: {meaning}", [f"Paper: {paper}"]) for name, (meaning, paper) in MEANINGS.items()]
    return [*entries, ("how hard they try, in every measurement", _parameters(Strength))]


def _datasets() -> list[Entry]:
    from robuststream.data.catalog import CATALOG

    known = [
        (f"{entry.name}: {entry.meaning}", [f"Source: {entry.source}", f"{entry.num_classes} classes, images {entry.shape}"])
        for entry in CATALOG.values()
    ]
    own = (
        "path/to/file.npz: arrays of your own",
        ["train_images, train_labels, test_images, test_labels; uint8 images, NHW or NHWC"],
    )
    folder = ("path/to/folder: images of your own", ["train/CLASS/*.png and test/CLASS/*.png, all of one size"])
    return [*known, own, folder]


def _studies() -> list[Entry]:
    from robuststream.studies import config_folder, recipe_names, study_names

    def head(path: Path) -> list[str]:
        lines = path.read_text().splitlines()
        count = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
        return [line.removeprefix("#").strip() for line in lines[:count]]

    folder = config_folder()
    studies = [(f"bench {name}", head(folder / f"{name}.yaml")) for name in study_names()]
    recipes = [(f"recipe={name}", head(folder / "recipes" / f"{name}.yaml")) for name in recipe_names()]
    return studies + recipes


def read_docstring(cls: type[Any]) -> tuple[str, list[str]]:
    """A plug-in's first line, and its `Paper:`, `Cost:`, `Deviations:` (and other such) lines, each unwrapped."""
    text = inspect.cleandoc(cls.__doc__ or "")
    meaning, _, rest = text.partition("\n\n")
    facts = re.split(r"\n(?=[A-Z][a-z]+: )", rest.strip()) if rest.strip() else []
    return " ".join(meaning.split()), [" ".join(fact.split()) for fact in facts]
