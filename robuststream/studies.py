"""Studies by name: YAML files, `key=value` overrides, and every mistake answered in one line. No torch here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from robuststream import registry
from robuststream.config import Augment, Budget, Recipe, Robust, Study
from robuststream.errors import UserError, meant

MOST_SEEDS = 10_000
OF_THE_STUDY = ("name", "data", "model", "model_settings", "budget", "evaluations")
"""What of a recipe no scenario may change."""


class _YamlLoader(yaml.SafeLoader):
    """Safe YAML in which 1e-3 is a number: YAML 1.1 wants 1.0e-3, and nobody types that."""


_YamlLoader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+$"), list("-+0123456789"))


def config_folder() -> Path:
    """Where the shipped studies and recipes lie: inside the wheel, or beside the package in a clone."""
    package = Path(__file__).parent
    return package / "configs" if (package / "configs").is_dir() else package.parent / "configs"


def study_names() -> list[str]:
    return sorted(path.stem for path in config_folder().glob("*.yaml"))


def recipe_names() -> list[str]:
    return sorted(path.stem for path in (config_folder() / "recipes").glob("*.yaml"))


def presets(section: str) -> dict[str, dict[str, Any]]:
    """Entries that any study may name without settings, shipped in `configs/presets`; {} where there are none."""
    path = config_folder() / "presets" / f"{section}.yaml"
    return _read_yaml(path) if path.is_file() else {}


def load_study(name: str, overrides: Sequence[str] = ()) -> Study:
    """A shipped study by name or one's own by path, with `key=value` overrides applied, validated.

    Raises UserError with one line that names the key, the value, what was allowed, and the nearest right spelling.
    """
    path = _find(name, config_folder(), study_names(), "study")
    raw = _read_yaml(path)
    changes = [parse_override(override) for override in overrides]
    for keys, value in changes:
        if keys == ["recipe"]:
            raw["recipe"] = value
    raw["recipe"] = _load_recipe(raw.get("recipe"), path)
    for section in ("samplers", "scenarios"):
        raw[section] = _mapping(raw.get(section), section)
        for keys, value in changes:
            if keys == [section]:
                raw[section] = _select(raw[section], value, section)
    for keys, value in changes:
        if keys not in (["recipe"], ["samplers"], ["scenarios"]):
            _set(raw, ["recipe", *keys] if keys[0] == "budget" else keys, value)
    return _validate(raw, path)


def _validate(raw: dict[str, Any], path: Path) -> Study:
    raw = {"name": path.stem, **raw, "seeds": _seeds(raw.get("seeds", 5))}
    for section in ("samplers", "scenarios"):
        raw[section] = [_plugin(section, label, entry) for label, entry in raw[section].items()]
        labels = [entry["label"] for entry in raw[section]]
        if twice := sorted({label for label in labels if labels.count(label) > 1}):
            raise UserError(f"study '{raw['name']}': {section} has the label '{twice[0]}' twice")
        if not raw[section]:
            raise UserError(f"study '{raw['name']}' has no {section}; name at least one under '{section}:'")
    for scenario in raw["scenarios"]:
        _study(f"scenario '{scenario['label']}'", {**raw, "recipe": {**raw["recipe"], **scenario.get("recipe", {})}})
    return _study(f"study '{raw['name']}'", raw)


def _study(where: str, raw: dict[str, Any]) -> Study:
    try:
        return Study.model_validate(raw)
    except ValidationError as error:
        raise UserError(f"{where}: {one_line(error)}") from None


def _plugin(section: str, label: Any, entry: Any) -> dict[str, Any]:
    if isinstance(entry, list) and section == "scenarios":  # several at once
        entry = {"kind": "mixed", "parts": entry}
    given = _mapping(entry, f"{section}.{label}")
    kind = given.pop("class", None) or given.pop("kind", None) or label
    registry.require(section, str(kind))
    plugin = {"label": str(label), "kind": str(kind), "given": given}
    if section == "samplers":
        if (learner := given.pop("learner", None)) is not None:
            plugin["learner"] = _learner(f"{section}.{label}.learner", learner)
        if "placebo" in given:
            plugin["placebo"] = given.pop("placebo")
    elif "recipe" in given:
        plugin["recipe"] = _changes(f"{section}.{label}.recipe", given.pop("recipe"))
    return plugin


def _changes(where: str, entry: Any) -> dict[str, Any]:
    """What a scenario changes of the recipe: not what a report says once for all scenarios."""
    changes = _mapping(entry, where)
    for key in OF_THE_STUDY:
        if key in changes:
            raise UserError(f"{where}.{key} is not possible ('{key}' is the whole study's; set recipe.{key})")
    return changes


def _learner(where: str, entry: Any) -> dict[str, Any]:
    """`learner: gce`, or `learner: {kind: gce, q: 0.5}`."""
    given = {"kind": entry} if isinstance(entry, str) else _mapping(entry, where)
    kind = str(given.pop("class", None) or given.pop("kind", ""))
    registry.require("learners", kind)
    return {"label": kind, "kind": kind, "given": given}


def _seeds(value: Any) -> Any:
    """`seeds: 5` means 0 to 4; a list names them."""
    if isinstance(value, int) and not isinstance(value, bool):
        if not 1 <= value <= MOST_SEEDS:
            raise UserError(f"seeds={value} is not possible (1 to {MOST_SEEDS}; 5 are reported, 10 carry a claim)")
        return list(range(value))
    if not isinstance(value, list):
        raise UserError(f"seeds={value!r} is not possible (a whole number, or a list of them)")
    if len(set(map(str, value))) < len(value):
        raise UserError(f"seeds={value} is not possible (a seed is named twice)")
    return value


def _load_recipe(value: Any, study: Path) -> dict[str, Any]:
    if isinstance(value, dict):
        return dict(value)
    if not isinstance(value, str):
        raise UserError(f"{study.name}: 'recipe' is missing; {meant('', recipe_names())}")
    path = _find(value, config_folder() / "recipes", recipe_names(), "recipe")
    return {"name": path.stem, **_read_yaml(path)}


def _find(name: str, folder: Path, known: list[str], what: str) -> Path:
    if name in known:
        return folder / f"{name}.yaml"
    if name.endswith((".yaml", ".yml")):
        if Path(name).is_file():
            return Path(name)
        raise UserError(f"{what} '{name}': there is no such file")
    raise UserError(f"unknown {what} '{name}'; {meant(name, known)}")


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        value = yaml.load(path.read_text(), _YamlLoader)
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise UserError(f"{path} does not parse: {' '.join(str(error).split())}") from None
    return _mapping(value, str(path))


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UserError(f"{where} must be a mapping of names to settings, not {value!r}")
    return dict(value)


def parse_override(override: str) -> tuple[list[str], Any]:
    """`a.b=value` as (["a", "b"], value), the value read as YAML. Raises UserError where it is not one."""
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise UserError(f"'{override}' is not an override; write key=value, as in seeds=10 or samplers.plb.warmup_epochs=2")
    try:
        value = yaml.load(text, _YamlLoader)
    except yaml.YAMLError:
        raise UserError(f"the value of '{override}' does not parse as YAML") from None
    return key.strip().split("."), value


def _select(section: dict[str, Any], wanted: Any, kind: str) -> dict[str, Any]:
    """`samplers=uniform,plb`: the study's entries keep their settings, presets have theirs, other names come with defaults."""
    chosen = [part.strip() for part in wanted.split(",")] if isinstance(wanted, str) else wanted
    if isinstance(chosen, dict):
        return chosen
    if not isinstance(chosen, list) or not all(isinstance(name, str) and name for name in chosen):
        raise UserError(f"{kind}={wanted} is not possible (names, separated by commas)")
    selected: dict[str, Any] = {}
    known = presets(kind) | section
    for name in chosen:
        if name in known:
            selected[name] = known[name]
        elif ".py:" in name:
            selected[name.rpartition(":")[2]] = {"class": name}
        elif registry.canonical(name) in registry.names(kind):
            selected[registry.canonical(name)] = {}
        else:
            raise UserError(f"unknown {kind[:-1]} '{name}'; {meant(name, {*known, *registry.names(kind)})}")
    return selected


def _set(raw: dict[str, Any], keys: list[str], value: Any) -> None:
    """Set a dotted key. Of the keys before the last, one that is not there yet must be a field; validation sees to the last."""
    place = raw
    for depth, key in enumerate(keys[:-1]):
        fields = set(Study.model_fields) if depth == 0 else set(Recipe.model_fields) if keys[:depth] == ["recipe"] else set()
        inner = place.get(key)
        if inner is None and (key in place or key in fields):
            inner = {}
        if not isinstance(inner, dict):
            here = f"'{'.'.join(keys)}'"
            if key in place:
                raise UserError(f"{here}: '{key}' has no settings of its own")
            raise UserError(f"{here}: there is no '{key}' here; {meant(key, fields or place)}")
        place[key] = dict(inner)
        place = place[key]
    place[keys[-1]] = value


def one_line(error: ValidationError) -> str:
    """The first mistake that pydantic found, as the rest of an error sentence."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        owner = Recipe if first["loc"][0] == "recipe" else Study
        inner = {"augment": Augment, "budget": Budget, "robust": Robust}
        owner = next((inner[part] for part in first["loc"][:-1] if part in inner), owner)
        return f"unknown key '{place}'; {meant(str(first['loc'][-1]), owner.model_fields)}"
    if first["type"] == "missing":
        return f"'{place}' is missing"
    message = first["msg"].removeprefix("Value error, ")
    return f"{place}={first['input']!r} is not possible ({message[0].lower()}{message[1:]})"
