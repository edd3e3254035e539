"""Bad input of every kind that a user or a file of somebody else's can bring. One case: refused in one line, or accepted whole.

Each entry of CASES is a strategy of hypothesis and what is done with its value; whatever is raised beside a UserError of one
printable line is a defect, and so is a file that is left behind by what was refused. tests/test_bad_input.py runs a thousand of
them, benchmarks/fuzz.py as many as are asked for.
"""

from __future__ import annotations

import io
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from hypothesis import strategies as st

from robuststream import records, registry
from robuststream.config import Recipe, Study
from robuststream.contracts import Sampler, Split
from robuststream.data.load import load_arrays
from robuststream.errors import UserError
from robuststream.evidence.summary import in_order, summarise
from robuststream.reporting.page import render_page
from robuststream.reporting.report import context, render
from robuststream.scenarios.label_noise import LabelNoise
from robuststream.studies import config_folder, load_study
from robuststream.study.plan import plan
from robuststream.training.checkpoint import Checkpoints


@dataclass(frozen=True)
class Case:
    """What is tried, and with what."""

    values: st.SearchStrategy[Any]
    attempt: Callable[[Any, Path], None]  # in an empty folder of its own


def tried(case: Case, value: Any) -> bool:
    """Whether it was accepted. Raises AssertionError where a refusal is no line for people."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            case.attempt(value, Path(folder))
        except UserError as error:
            told = str(error)
            assert told.strip(), "a refusal that says nothing"
            return False
    return True


# What people type

_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(
        ["uniform", "plb", "clean", "label-noise", "0.4", "1e-3", "500 steps", "digits", "mlp", "cpu", "nan", "1e999"]
    ),
)
_NESTED = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(st.text(max_size=8), _SCALARS), inner, max_size=3)
    ),
    max_leaves=6,
)
_PARTS = sorted({*Study.model_fields, *Recipe.model_fields, "recipe", "samplers", "scenarios", "plb", "uniform", "clean", "rate"})
_KEYS = st.lists(st.one_of(st.sampled_from(_PARTS), st.text(max_size=6)), min_size=1, max_size=4).map(".".join)


def _dumped(value: Any) -> str:
    try:
        return yaml.safe_dump(value, default_flow_style=True, allow_unicode=True).strip().removesuffix("...").strip()
    except Exception:  # what YAML cannot hold is no YAML text
        return "null"


_SENSIBLE = st.one_of(
    st.builds("recipe.lr={}".format, st.floats()),
    st.builds("recipe.train_size={}".format, st.integers()),
    st.builds("budget={}".format, st.floats(allow_nan=True)),
    st.builds("seeds={}".format, st.lists(st.integers(-(10**20), 10**20), max_size=3)),
    st.builds("samplers={}".format, st.lists(st.sampled_from(["uniform", "plb", "peb", "lbb"]), max_size=3).map(",".join)),
    st.builds("scenarios.symmetric-40.rate={}".format, st.floats(-1, 2)),
    st.builds("samplers.plb.warmup_epochs={}".format, st.floats()),
)
_OVERRIDE = st.one_of(_SENSIBLE, st.text(max_size=30), st.builds(lambda key, value: f"{key}={_dumped(value)}", _KEYS, _NESTED))


def _overrides(given: list[str], folder: Path) -> None:
    plan(load_study("noisy-labels", ["seeds=1", *given]), folder)
    assert not list(folder.iterdir()), "a plan has written something"


_SHIPPED = [path.read_text() for path in sorted(config_folder().rglob("*.yaml"))]


@st.composite
def _yaml_text(draw: st.DrawFn) -> bytes:
    """A shipped file with pieces cut out, doubled or replaced; or any text."""
    if draw(st.integers(0, 3)) == 0:
        return draw(st.binary(max_size=200))
    lines = draw(st.sampled_from(_SHIPPED)).splitlines()
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(lines) - 1))
        key = lines[place].partition(":")[0]
        lines[place] = draw(
            st.one_of(
                st.just(""),
                st.just(lines[place] * 2),
                st.text(max_size=20),
                st.builds(lambda key, value: f"{key}: {_dumped(value)}", st.just(key), _NESTED),
                st.sampled_from(
                    ["a: &a [*a]", "? [a]", "!!python/object/apply:os.system [id]", "\t", "---", "<<: {a: 1}", "- x"]
                ),
            )
        )
    return "\n".join(lines).encode(errors="surrogatepass")


def _study_file(content: bytes, folder: Path) -> None:
    path = folder / "study.yaml"
    path.write_bytes(content)
    plan(load_study(str(path), ["seeds=1"]), folder)


# Arrays


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def _npz(arrays: dict[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


_LABELS = np.arange(40) % 4
_PARTS_OF_DATA = {
    "train_images": np.arange(40 * 64, dtype=np.uint8).reshape(40, 8, 8),
    "train_labels": _LABELS,
    "test_images": np.arange(40 * 64, dtype=np.uint8).reshape(40, 8, 8),
    "test_labels": _LABELS,
}


@st.composite
def _array(draw: st.DrawFn) -> np.ndarray:
    shape = tuple(draw(st.lists(st.integers(0, 9), max_size=5)))
    kind = draw(st.sampled_from(["u1", "i1", "i8", "u8", "f4", "f8", "c8", "?", "U3", "S2", "M8[s]", "O", "u1,i4"]))
    array = np.zeros(shape, dtype=kind)
    if array.dtype.kind in "iu" and array.size:
        array.flat[0] = draw(st.integers(np.iinfo(array.dtype).min, np.iinfo(array.dtype).max))
    return array


@st.composite
def _mutated(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """Bytes that are cut, overwritten or lengthened at a few places."""
    content = bytearray(draw(whole))
    for _ in range(draw(st.sampled_from([0, 0, 1, 2, 4]))):
        place = draw(st.integers(0, max(0, len(content) - 1)))
        way = draw(st.integers(0, 3))
        if way == 0:
            del content[place:]
        elif way == 1:
            content[place : place + 1] = draw(st.binary(max_size=8))
        elif way == 2:
            content[place : place + 4] = draw(st.sampled_from([b"\xff\xff\xff\xff", b"\0\0\0\0", b"9999", b"{}()"]))
        else:
            del content[place : place + draw(st.integers(1, 64))]
    return bytes(content)


_DATA = st.one_of(
    st.just(_PARTS_OF_DATA),
    st.builds(lambda name, array: _PARTS_OF_DATA | {name: array}, st.sampled_from(sorted(_PARTS_OF_DATA)), _array()),
    st.builds(lambda name: {k: v for k, v in _PARTS_OF_DATA.items() if k != name}, st.sampled_from(sorted(_PARTS_OF_DATA))),
)


def _data_file(content: bytes, folder: Path) -> None:
    path = folder / "own.npz"
    path.write_bytes(content)
    arrays = load_arrays(str(path))
    assert arrays.train_images.dtype == np.uint8
    assert len(arrays.train_images) == len(arrays.train_labels)
    assert set(np.unique(arrays.train_labels)) == set(range(arrays.num_classes)) or arrays.num_classes == 2


_LABEL_FILES = st.one_of(
    st.tuples(st.just(".npy"), _mutated(st.one_of(st.just(_npy(_LABELS)), _array().map(_npy)))),
    st.tuples(
        st.just(".npz"), _mutated(st.one_of(st.just(_npz({"noisy": _LABELS})), _array().map(lambda a: _npz({"noisy": a}))))
    ),
    st.tuples(
        st.just(".txt"), _mutated(st.lists(st.integers(-9, 10**25), max_size=40).map(lambda n: " ".join(map(str, n)).encode()))
    ),
)


def _label_file(given: tuple[str, bytes], folder: Path) -> None:
    suffix, content = given
    path = folder / f"labels{suffix}"
    path.write_bytes(content)
    everyone = torch.arange(40)
    split = Split(torch.zeros(40, 1, 8, 8, dtype=torch.uint8), torch.from_numpy(_LABELS.copy()), everyone, 4, "own", 40)
    noise = LabelNoise(noise="file", file=str(path), key="noisy" if suffix == ".npz" else None)
    observed = noise.corrupt(split, torch.Generator().manual_seed(0))
    assert observed.labels.shape == split.labels.shape
    assert 0 <= int(observed.labels.min()) <= int(observed.labels.max()) < 4


# Folders of runs

_WORDS = ["<script>alert(1)</script>", "a|b", "`", "../../x", "[x](y)", "\x1b[31m", "\u202e", "</script>", "{{ 7*7 }}", "\n# x"]
_JSON = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(10**25), 10**25), st.floats(), st.text(max_size=8), st.sampled_from(_WORDS)
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)),
    max_leaves=4,
)
_FILES = ("study.json", "settings.json", "records.jsonl", "result.json")


@st.composite
def _damage(draw: st.DrawFn) -> tuple[int, str, list[int], Any]:
    """(which run, which file, a walk to one of its values, what stands there instead); or bytes for the whole file."""
    instead = draw(st.one_of(_JSON, _JSON, _JSON, st.binary(max_size=40)))
    return draw(st.integers(0, 3)), draw(st.sampled_from(_FILES)), draw(st.lists(st.integers(0, 30), max_size=5)), instead


def _replace(value: Any, walk: list[int], instead: Any) -> Any:
    if not walk or not isinstance(value, (dict, list)) or not value:
        return instead
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    key = keys[walk[0] % len(keys)]
    value[key] = _replace(value[key], walk[1:], instead)
    return value


def _run_folder(damages: list[tuple[int, str, list[int], Any]], folder: Path) -> None:
    _template(folder)
    for which, name, walk, instead in damages:
        runs = sorted((folder / "runs").iterdir())
        path = folder / name if name == "study.json" else runs[which % len(runs)] / name
        if isinstance(instead, bytes):
            path.write_bytes(instead)
        elif name == "records.jsonl":
            rows = [json.loads(line) for line in path.read_text().splitlines()] if _reads(path) else []
            left = _replace(rows, walk, instead)
            lines = left if isinstance(left, list) and left else [left]  # whatever stands for all lines is one
            path.write_text("".join(json.dumps(row) + "\n" for row in lines) if rows else "x\n")
        elif _reads(path):
            path.write_text(json.dumps(_replace(json.loads(path.read_text()), walk, instead)))
    before = _listing(folder)
    study, runs = records.read_study(folder)
    summary = summarise(study, runs)
    told = context(study, runs, summary)
    page = render_page(study, summary, in_order(study, [run for run in runs if run.result is not None]), told)
    for text in (render(told), page):
        for word in ("<script>alert(1)", "</script>alert"):
            assert word not in text, "markup of a foreign name has come through"
    assert _listing(folder) == before, "reading has written"


def _reads(path: Path) -> bool:
    try:
        return isinstance([json.loads(line) for line in path.read_text().splitlines() if path.suffix == ".jsonl"], list) and (
            path.suffix == ".jsonl" or json.loads(path.read_text()) is not None
        )
    except (ValueError, RecursionError):
        return False


def _listing(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(path), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file())


_SMALLEST = config_folder().parent / "reports" / "noisy-labels"


def _template(folder: Path) -> None:
    """Four runs of the committed study, five evaluations each."""
    study, runs = _committed()
    kept = [run for run in runs if run.sampler in ("uniform", "plb") and run.seed < 2 and run.scenario == "symmetric-40"]
    study = dict(study) | {
        "seeds": [0, 1],
        "samplers": [entry for entry in study["samplers"] if entry["label"] in ("uniform", "plb")],
        "scenarios": [entry for entry in study["scenarios"] if entry["label"] == "symmetric-40"],
        "runs": [records.run_name(run.settings) for run in kept],
    }
    (folder / "study.json").write_text(json.dumps(study))
    for run in kept:
        place = folder / "runs" / records.run_name(run.settings)
        place.mkdir(parents=True)
        (place / "settings.json").write_text(json.dumps(run.settings))
        (place / "records.jsonl").write_text("".join(json.dumps(row) + "\n" for row in run.evaluations[::8]))
        (place / "result.json").write_text(json.dumps(run.result))


_read: list[tuple[dict[str, Any], list[records.RunRecords]]] = []


def _committed() -> tuple[dict[str, Any], list[records.RunRecords]]:
    if not _read:
        _read.append(records.read_study(_SMALLEST))
    return _read[0]


# Checkpoints and plug-ins


def _checkpoint(content: bytes, folder: Path) -> None:
    (folder / "checkpoint.pt").write_bytes(content)
    (folder / "records.jsonl").write_text('{"step": 0}\n')
    assert Checkpoints(folder).load() is None, "what nobody sealed was accepted"
    assert not (folder / "checkpoint.pt").exists(), "a damaged checkpoint is put aside"


def _saved() -> bytes:
    buffer = io.BytesIO()
    torch.save({"source": "other", "progress": {"written": 1}}, buffer)
    return b"robuststream checkpoint sha256 " + b"0" * 64 + b"\n" + buffer.getvalue()


_SOURCE = """from dataclasses import dataclass
from robuststream.samplers import Streaming
from robuststream.hyperparameters import hyper


@dataclass
class Mine(Streaming):
    gain: float = hyper(1.0, above=0.0)

    def fresh_values(self, signals):
        return signals.loss
"""
_LINES = [
    "raise ValueError('no')", "raise SystemExit(3)", "1/0", "import nowhere_to_be_found", "class Mine: pass",
    "Mine = 3", "@", "def f(:", "    gain: list = []", "    gain: int = hyper(1.5)", "    other: 'Nothing' = 3", "\tx = 1",
    "    def __post_init__(self): raise ValueError('a\\nb')", "    gain: float = hyper('x')", "", "from robuststream import gone",
]  # fmt: skip


@st.composite
def _plugin_text(draw: st.DrawFn) -> bytes:
    lines = _SOURCE.splitlines()
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(lines) - 1))
        line = draw(st.one_of(st.sampled_from(_LINES), st.text(max_size=20)))
        lines[place : place + draw(st.integers(0, 1))] = [line]
    return "\n".join(lines).encode(errors="surrogatepass")


def _plugin(given: tuple[bytes, dict[str, Any]], folder: Path) -> None:
    content, settings = given
    path = folder / f"mine{len(os.listdir(folder))}.py"
    path.write_bytes(content)
    registry.load("samplers", f"{path}:Mine", Sampler).from_settings(settings, "samplers.mine")


CASES = {
    "overrides": Case(st.lists(_OVERRIDE, min_size=1, max_size=3), _overrides),
    "study files": Case(_yaml_text(), _study_file),
    "data files": Case(_mutated(_DATA.map(_npz)), _data_file),
    "label files": Case(_LABEL_FILES, _label_file),
    "run folders": Case(st.lists(_damage(), min_size=1, max_size=2), _run_folder),
    "checkpoints": Case(_mutated(st.one_of(st.just(_saved()), st.binary(max_size=100))), _checkpoint),
    "plug-ins": Case(
        st.tuples(
            _plugin_text(), st.dictionaries(st.sampled_from(["gain", "warmup_epochs", "refresh", "x"]), _NESTED, max_size=2)
        ),
        _plugin,
    ),
}
