"""Where the numbers come from: labels as realised, settings in full, provenance (rules 8 and 13). All as Markdown tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from robuststream.records import RunRecords
from robuststream.reporting.markdown import NONE, escape, percent, table

LARGEST_MATRIX = 20
"""Classes up to which a transition matrix is printed whole; above, its largest flows."""

_FLOWS = 20


class Matrix(NamedTuple):
    """Title in text, transition counts as a table."""

    title: str
    table: str


def noise_table(runs: Sequence[RunRecords]) -> str:
    """Per scenario: wrong labels, rate, the hash for every seed, and what else a pool is made of where that is told."""
    rows = []
    for scenario, own in by_scenario(runs).items():
        rates = [_labels(run)["rate"] for run in own]
        wrong = [_labels(run)["wrong"] for run in own]
        seeds = {run.seed: str(_labels(run)["hash"])[:12] for run in own}
        hashes = ", ".join(f"{seed}: {escape(digest)}" for seed, digest in sorted(seeds.items()))
        rows.append([escape(scenario), _span(wrong, str), _span(rates, percent), hashes, _made_up(own)])
    headers = ["scenario", "wrong labels", "rate", "hash of the labels by seed"] + ["pool"] * any(row[-1] for row in rows)
    return table(headers, [row[: len(headers)] for row in rows], left=5)


def _made_up(runs: Sequence[RunRecords]) -> str:
    """Of a pool that is not just the data set's examples: its foreign images, its distinct examples."""
    words = []
    for key, meaning in (("foreign", "foreign images"), ("distinct", "distinct examples")):
        counts = [_labels(run)[key] for run in runs if key in _labels(run)]
        words += [f"{_span(counts, str)} {meaning}"] if counts else []
    return ", ".join(words)


def matrices(runs: Sequence[RunRecords]) -> list[Matrix]:
    """For every scenario with wrong labels, the transitions of its first seed."""
    found = []
    for scenario, own in by_scenario(runs).items():
        first = min(own, key=lambda run: run.seed)
        labels = _labels(first)
        if labels["wrong"]:
            title = f"{escape(scenario)}, seed {first.seed}: clean class (rows) by observed class (columns), counts"
            found.append(Matrix(title, _whole(labels) if len(labels["matrix"]) <= LARGEST_MATRIX else _flows(labels)))
    return found


def _whole(labels: dict[str, Any]) -> str:
    classes = range(len(labels["matrix"]))
    rows = [
        [f"**{clean}**", *map(str, counts), percent(rate)]
        for clean, counts, rate in zip(classes, labels["matrix"], labels["per_class"], strict=True)
    ]
    return table(["", *map(str, classes), "wrong"], rows)


def _flows(labels: dict[str, Any]) -> str:
    """The largest off-diagonal counts, where the whole matrix would fill pages."""
    flows = [
        (count, clean, seen)
        for clean, counts in enumerate(labels["matrix"])
        for seen, count in enumerate(counts)
        if clean != seen and count
    ]
    largest = sorted(flows, key=lambda flow: (-flow[0], flow[1], flow[2]))[:_FLOWS]
    rows = [[str(clean), str(seen), str(count), percent(labels["per_class"][clean])] for count, clean, seen in largest]
    return table(["clean class", "observed class", "examples", "wrong in the clean class"], rows, left=0)


def sampler_table(study: dict[str, Any], runs: Sequence[RunRecords]) -> str:
    """Every sampler with all its hyperparameters, defaults included."""
    return _plugins("sampler", study["samplers"], {run.sampler: run.arm for run in runs})


def scenario_table(study: dict[str, Any], runs: Sequence[RunRecords]) -> str:
    """Every scenario with all its hyperparameters, defaults included."""
    return _plugins("scenario", study["scenarios"], {run.scenario: run.settings["scenario"] for run in runs})


def _plugins(what: str, entries: Sequence[dict[str, Any]], full: dict[str, dict[str, Any]]) -> str:
    rows = []
    for entry in entries:
        settings = full[entry["label"]]["settings"] if entry["label"] in full else entry["given"]
        settings = {**settings, **{f"recipe.{key}": value for key, value in entry.get("recipe", {}).items()}}
        told = ", ".join(f"{escape(key)} = {escape(value)}" for key, value in settings.items())
        rows.append([escape(entry["label"]), escape(entry["kind"]), told or NONE])
    return table([what, "kind", "hyperparameters"], rows, left=3)


def recipe_table(recipe: dict[str, Any]) -> str:
    """Nested settings as dotted keys."""
    return table(["recipe", "value"], [[escape(key), escape(value)] for key, value in flat(recipe)], left=2)


def flat(settings: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """(dotted key, value) of every leaf, in order; an empty mapping is a leaf."""
    leaves: list[tuple[str, Any]] = []
    for key, value in settings.items():
        name = f"{prefix}{key}"
        leaves += flat(value, f"{name}.") if isinstance(value, dict) and value else [(name, value)]
    return leaves


def provenance_table(study: dict[str, Any], finished: Sequence[RunRecords]) -> str:
    """Each value with how many runs have it, where they do not all have the same."""
    rows = [
        ["rules of measurement", escape(study["rules"])],
        ["command", escape(study["command"])],
        ["device asked for", escape(study["device"])],
        ["seeds", escape(", ".join(map(str, study["seeds"])))],
    ]
    results = [run.result for run in finished if run.result]
    provenances = [result["provenance"] for result in results]
    for key in dict.fromkeys(key for provenance in provenances for key in provenance if key != "started"):
        rows.append([escape(key), _counted([provenance.get(key) for provenance in provenances])])
    if results:
        starts = sorted(str(provenance.get("started")) for provenance in provenances)
        rows.append(["started", escape(starts[0] if len(starts) == 1 else f"{starts[0]} to {starts[-1]}")])
        rows += [[f"data: {key}", _counted([result["data"].get(key) for result in results])] for key in results[0]["data"]]
    return table(["provenance", "value"], rows, left=2)


def by_scenario(runs: Sequence[RunRecords]) -> dict[str, list[RunRecords]]:
    """Scenario -> its finished runs, in the order in which scenarios are met."""
    found: dict[str, list[RunRecords]] = {}
    for run in runs:
        if run.result is not None:
            found.setdefault(run.scenario, []).append(run)
    return found


def _labels(run: RunRecords) -> dict[str, Any]:
    assert run.result is not None  # only finished runs come here
    return run.result["labels"]


def _counted(values: Sequence[Any]) -> str:
    counts = Counter(map(str, values))
    if len(counts) == 1:
        return escape(values[0])
    return ", ".join(f"{escape(value)} ({count} runs)" for value, count in counts.most_common())


def _span(values: Sequence[Any], form: Any) -> str:
    low, high = min(values), max(values)
    return form(low) if low == high else f"{form(low)} to {form(high)}"
