"""Whoever opens another person's study, data or report is not hurt: nothing unpickles, nothing runs, names are shown as text."""

from __future__ import annotations

import ast
import io
import os
import pickle
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from _fake_study import Arm, World, fake_study
from robuststream import records, registry
from robuststream.data.load import load_arrays
from robuststream.errors import UserError
from robuststream.evidence.summary import summarise
from robuststream.reporting.markdown import escape, table
from robuststream.reporting.merge import merge
from robuststream.reporting.report import write_report
from robuststream.reporting.terminal import summary_table
from robuststream.studies import load_study
from robuststream.study.plan import plan
from robuststream.training.checkpoint import Checkpoints

PACKAGE = Path(registry.__file__).parent
ROOT = PACKAGE.parent

NETWORK = {"socket", "ssl", "urllib", "http", "requests", "httpx", "ftplib", "smtplib", "telnetlib", "xmlrpc", "webbrowser"}
UNPICKLERS = {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal", "cloudpickle", "pandas"}
OTHERS = {"subprocess", "importlib", "ctypes", "pty", "code"}
EXCEPTIONS = {
    ("data/vision.py", "http"): "names the error of a download by torchvision; fetches nothing itself",
    ("checks/draws.py", "pickle"): "names the error of torch.load(weights_only=True); reads nothing by it",
    ("training/provenance.py", "subprocess"): "asks git for the commit, without a shell",
    ("registry.py", "importlib"): "plug-ins that were named on purpose",
    ("reporting/page.py", "importlib"): "our own page's files",
    ("reporting/style.py", "importlib"): "our own list of looks",
    ("compiled.py", "ctypes"): "our own C libraries, beside the package",
    ("data/_native.py", "ctypes"): "our own C library, beside the package",
    ("sumtree/_library.py", "ctypes"): "our own C library, beside the package",
    ("sumtree/_uniforms.py", "ctypes"): "the type of our own C library",
    ("entropy/__init__.py", "ctypes"): "our own C library, beside the package",
    ("study/allocator.py", "ctypes"): "mallopt of the C library",
}
"""Imports that would be forbidden elsewhere, and what they are for."""


def forbidden(text: str, name: str) -> list[str]:
    """Every way by which this source could run what it reads, start a shell, or speak to a network."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            for module in {module.split(".")[0] for module in modules}:
                if (
                    module in NETWORK | UNPICKLERS | {"subprocess", "importlib", "ctypes", "pty", "code"}
                    and (name, module) not in EXCEPTIONS
                ):
                    found.append(f"imports {module}")
        elif isinstance(node, ast.Call):
            found += _forbidden_call(node)
    return found


def _forbidden_call(node: ast.Call) -> list[str]:
    dotted, keywords = ast.unparse(node.func), {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
    if dotted in ("eval", "exec", "compile", "__import__", "os.system", "os.popen", "torch.hub.load", "torch.jit.load"):
        return [f"calls {dotted}"]
    if dotted.endswith(("pickle.load", "pickle.loads", "Unpickler")) or dotted.startswith(("os.exec", "os.spawn")):
        return [f"calls {dotted}"]
    if dotted in ("yaml.load", "yaml.load_all") and [ast.unparse(argument) for argument in node.args[1:]] != ["_YamlLoader"]:
        return [f"calls {dotted} without the safe loader"]
    if dotted in ("yaml.unsafe_load", "yaml.full_load"):
        return [f"calls {dotted}"]
    if dotted == "torch.load" and keywords.get("weights_only") != "True":
        return ["calls torch.load without weights_only=True"]
    if dotted in ("np.load", "numpy.load") and keywords.get("allow_pickle") != "False":
        return ["calls np.load without allow_pickle=False"]
    return ["asks for a shell"] if keywords.get("shell", "False") != "False" else []


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_source_runs_nothing_that_it_reads(path: Path) -> None:
    assert forbidden(path.read_text(), path.relative_to(PACKAGE).as_posix()) == []


@pytest.mark.parametrize(
    "line",
    [
        *("import pickle", "from pickle import load", "import socket", "import urllib.request", "import subprocess", "eval('1')"),
        *("exec('1')", "os.system('ls')", "subprocess.run('ls', shell=True)", "yaml.load(text)", "yaml.load(text, yaml.Loader)"),
        *("torch.load(path)", "torch.load(path, weights_only=False)", "np.load(path)", "np.load(path, allow_pickle=True)"),
    ],
)
def test_what_is_forbidden_is_seen(line: str) -> None:
    assert forbidden(line, "somewhere.py")


def test_the_loader_of_yaml_is_safe() -> None:
    from robuststream.studies import _YamlLoader, yaml

    assert issubclass(_YamlLoader, yaml.SafeLoader)
    with pytest.raises(yaml.YAMLError):
        yaml.load("!!python/object/apply:os.system [id]", _YamlLoader)


# -- files that would run code -----------------------------------------------------------------------------------------------


class Bomb:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_a_checkpoint_that_would_run_code_does_not(tmp_path: Path) -> None:
    import hashlib

    buffer = io.BytesIO()
    torch.save({"source": Bomb(tmp_path / "ran"), "progress": {"written": 0}}, buffer)
    for content in (pickle.dumps(Bomb(tmp_path / "ran")), buffer.getvalue()):
        seal = b"robuststream checkpoint sha256 " + hashlib.sha256(content).hexdigest().encode() + b"\n"
        (tmp_path / "checkpoint.pt").write_bytes(seal + content)
        assert Checkpoints(tmp_path).load() is None
    assert not (tmp_path / "ran").exists()


def test_data_and_labels_that_would_run_code_do_not(tmp_path: Path) -> None:
    bomb = np.array([Bomb(tmp_path / "ran")], dtype=object)
    np.savez(tmp_path / "own.npz", train_images=bomb, train_labels=bomb, test_images=bomb, test_labels=bomb)
    with pytest.raises(UserError, match="holds more than plain arrays"):
        load_arrays(str(tmp_path / "own.npz"))
    assert not (tmp_path / "ran").exists()


def test_a_study_file_runs_no_code(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(f"recipe: digits-cnn\nabout: !!python/object/apply:os.mkdir [{tmp_path / 'ran'}]\n")
    with pytest.raises(UserError, match="does not parse"):
        load_study(str(tmp_path / "study.yaml"))
    assert not (tmp_path / "ran").exists()


def test_reading_a_study_imports_no_plugin(tmp_path: Path) -> None:
    """Its settings name a file; only `bench`, which is told to run it, imports that."""
    (tmp_path / "mine.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'ran')!r})\n")
    fake_study(tmp_path / "out", (Arm("uniform", "uniform"), Arm("mine", f"{tmp_path / 'mine.py'}:Mine")))
    write_report(tmp_path / "out")
    assert not (tmp_path / "ran").exists()


# -- names -------------------------------------------------------------------------------------------------------------------

NAMES = (
    "<script>alert(1)</script>", "a|b", "</script><img src=x onerror=alert(1)>", "`x`", "**x**", "[x](javascript:alert(1))",
    "$x$",
    "{{ 7*7 }}", "line\nbreak | and more", "\x1b[31mred", "[red]rich[/red]", "[/]",
)  # fmt: skip


class Elements(HTMLParser):
    """What elements a page has, with how many scripts and handlers."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.handlers: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.handlers += [name for name, _ in attrs if name.startswith("on")]


def elements(path: Path) -> Elements:
    found = Elements()
    found.feed(path.read_text())
    return found


def test_names_are_shown_as_text_in_report_page_and_terminal(tmp_path: Path) -> None:
    """Two studies that differ in names alone have pages of the same elements, and tables of the same shape."""
    plain = [f"plain{place}" for place in range(len(NAMES))]
    for folder, names in (("plain", plain), ("foreign", NAMES)):
        arms = (Arm("uniform", "uniform"), *(Arm(name, "peb", speed=2.0) for name in names))
        fake_study(tmp_path / folder, arms, tuple(World(name) for name in names[:2]), seeds=1, evaluations=4)
        write_report(tmp_path / folder)
    expected, found = (elements(tmp_path / folder / "report.html") for folder in ("plain", "foreign"))
    assert found.tags == expected.tags
    assert found.handlers == expected.handlers
    text = (tmp_path / "foreign" / "report.md").read_text()
    assert "<script" not in text
    assert "](javascript" not in text
    assert "\x1b" not in text
    for block in re.findall(r"(?:^\|.*\|$\n?)+", text, re.MULTILINE):
        assert len({line.count("|") for line in block.strip().splitlines()}) == 1, "a table that breaks"
    console = Console(markup=False, highlight=False, record=True, width=300, file=io.StringIO())
    console.print(summary_table(summarise(*records.read_study(tmp_path / "foreign"))))
    shown = console.export_text()
    assert "\x1b" not in shown
    assert all(name in shown for name in NAMES if name.isprintable())


def test_escaped_cells_keep_a_table_in_shape() -> None:
    lines = table(["a", "b"], [[escape(name), "x"] for name in NAMES]).splitlines()
    assert {line.count("|") for line in lines} == {3}


# -- paths -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", ["../../up", "/etc/passwd", "..", "a/b", "a\\b", "x\0y", "~root"])
def test_no_label_leads_out_of_a_study_s_folder(label: str, tmp_path: Path) -> None:
    try:
        study = load_study("noisy-labels", [])
        plugin = study.samplers[0].model_copy(update={"label": label})
        runs = plan(study.model_copy(update={"samplers": [plugin]}), tmp_path)
    except UserError:
        return
    for run in runs:
        assert run.folder.resolve().parent == (tmp_path / "runs").resolve()


@pytest.mark.parametrize("name", ["../../up", "/etc", "..", ".hidden", "a\\b", ""])
def test_no_study_s_name_leads_out_of_the_reports(name: str, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(
        f"recipe: digits-cnn\nname: {name!r}\nsamplers: {{uniform: {{}}}}\nscenarios: {{clean: {{}}}}\n"
    )
    with pytest.raises(UserError, match="it names a folder"):
        load_study(str(tmp_path / "x.yaml"))


def test_a_foreign_plan_reads_and_writes_nothing_outside(tmp_path: Path) -> None:
    """study.json may name any runs: only those that lie in its own folder are looked at, under names of our own making."""
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "failed.txt").write_text("a secret")
    for part in ("a", "b"):
        fake_study(tmp_path / part, (Arm("../../../out", "uniform"),), seeds=1)
        study = records.read_json(tmp_path / part / "study.json", [])
        records.write_json(tmp_path / part / "study.json", study | {"runs": [*study["runs"], "../../secret"]})
        assert "a secret" not in write_report(tmp_path / part).read_text()
    before = {path for path in tmp_path.iterdir() if path.is_dir()}
    merge(tmp_path / "merged", [tmp_path / "a", tmp_path / "b"])
    assert {path for path in tmp_path.iterdir() if path.is_dir()} == before | {tmp_path / "merged"}


def test_links_in_a_foreign_study_lead_no_writer_out(tmp_path: Path) -> None:
    """Locking neither empties nor makes a file that a link leads to, and a report clears no folder of pictures but its own."""
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "holiday.png").write_text("mine")
    study = fake_study(tmp_path / "foreign", (Arm("uniform", "uniform"),), seeds=1)
    (study / "figures").symlink_to(tmp_path / "pictures")
    for leads_to in ("notes.txt", "nowhere.txt"):
        (study / ".lock").unlink(missing_ok=True)
        (study / ".lock").symlink_to(tmp_path / leads_to)
        with pytest.raises(UserError, match="results cannot be written"), records.alone(study):
            pass
    with pytest.raises(UserError, match="is a link to another place"):
        write_report(study)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert not (tmp_path / "nowhere.txt").exists()
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["holiday.png"]


def test_the_policy_on_security_says_how_to_report() -> None:
    text = (Path(__file__).parent.parent / "SECURITY.md").read_text()
    for word in ("weights_only", "allow_pickle=False", "SafeLoader", "plug-in", "torchattacks", "pip-audit"):
        assert word in text
