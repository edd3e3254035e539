"""Policies of freshness on one recorded run: what each would have known of the pool's values at every step. `--help`

`trace FILE` trains one run and keeps the logits of the whole pool before every step; `replay FILE` lets every policy see what
the run saw (and probe what it asks for) and prints the concordance of its values with the fresh ones. The draws are the recorded
run's, so a policy is judged as a clock, not as a stream: the study `staleness` trains with those that are shipped.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

PAIRS = 20_000
Array = NDArray[Any]


def trace(file: Path, sampler: str, overrides: Sequence[str]) -> None:
    from robuststream.studies import load_study
    from robuststream.study.plan import plan
    from robuststream.training.evaluation import logits_of
    from robuststream.training.step import take_step
    from robuststream.training.world import build_world

    study = load_study("noisy-labels", [f"samplers={sampler}", "scenarios=clean", "seeds=1", *overrides])
    run = plan(study, Path())[0].settings
    world = build_world(run)
    world.clock.to("draw")
    world.sampler.start(world.pool, world.probe)
    world.network.train()
    pool, index, stored = [], [], []
    while world.ledger.spent < 1.0:
        pool.append(logits_of(world.bare, world.train, world.pool.everyone).half().numpy())
        world.network.train()
        take_step(world, run.recipe)
        index.append(world.diagnostics.drawn[-1].numpy())
        values = world.sampler.stored_values()
        stored.append(np.full(world.pool.size, np.nan) if values is None else values.double().numpy())
    columns = {"Z": np.array(pool), "index": np.array(index), "stored": np.array(stored), "labels": world.pool.labels.numpy()}
    np.savez(file, sampler=np.array(sampler), **columns)


def log_softmax(z: Array) -> Array:
    z = z - z.max(1, keepdims=True)
    return z - np.log(np.exp(z).sum(1, keepdims=True))


def value(logits: Array, labels: Array, sampler: str) -> Array:
    """Loss for plb, entropy for peb."""
    log_p = log_softmax(logits.astype(np.float64))
    return -log_p[np.arange(len(labels)), labels] if sampler == "plb" else -(np.exp(log_p) * log_p).sum(1)


def concordance(stored: Array, fresh: Array, pairs: Array) -> float:
    true, ours = (np.sign(v[pairs[0]] - v[pairs[1]]) for v in (fresh, stored))
    told = true != 0
    return float(((1.0 + ours[told] * true[told]) / 2.0).mean())


class Stored:
    """No policy: what was last seen."""

    share = 0.0  # probed per example drawn

    def __init__(self, logits: Array, labels: Array, sampler: str, step: int) -> None:
        self.z, self.labels, self.sampler = logits.astype(np.float64), labels, sampler
        self.last = np.full(len(labels), step)

    def ask(self, k: int) -> Array:
        """Whom to probe: the oldest."""
        return self.last.argsort(kind="stable")[:k]

    def see(self, index: Array, logits: Array, step: int) -> None:
        self.z[index], self.last[index] = logits, step

    def values(self, step: int) -> Array:
        return value(self.z, self.labels, self.sampler)


class Oldest(Stored):
    share = 0.15


class OldestMore(Stored):
    share = 1.0


class Anyone(Oldest):
    """Probe at random."""

    def ask(self, k: int) -> Array:
        return np.random.default_rng(int(self.last.sum())).choice(len(self.labels), k, replace=False)


class Changed(Oldest):
    """Probe those predicted to have changed most: own rate of change of log values times age."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.rate, self.now = np.zeros(len(self.labels)), int(self.last[0])

    def ask(self, k: int) -> Array:
        return (-(self.rate + 1e-4) * (self.now + 1 - self.last)).argsort(kind="stable")[:k]

    def see(self, index: Array, logits: Array, step: int) -> None:
        before = value(self.z[index], self.labels[index], self.sampler)
        after = value(logits, self.labels[index], self.sampler)
        change = np.abs(np.log(after + 1e-9) - np.log(before + 1e-9)) / np.maximum(1, step - self.last[index])
        self.rate[index] = 0.5 * self.rate[index] + 0.5 * change
        super().see(index, logits, step)
        self.now = step


class Forgetting(Stored):
    """Toward the class mean, exponentially with age."""

    steps = 200.0

    def values(self, step: int) -> Array:
        v = super().values(step)
        mean = (np.bincount(self.labels, v) / np.bincount(self.labels))[self.labels]
        return mean + (v - mean) * np.exp(-(step - self.last) / self.steps)


class SlowForgetting(Forgetting):
    steps = 1000.0


class Average(Stored):
    """Of a running average of predictions."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.p = np.exp(log_softmax(self.z))

    def see(self, index: Array, logits: Array, step: int) -> None:
        self.p[index] = 0.5 * self.p[index] + 0.5 * np.exp(log_softmax(logits.astype(np.float64)))

    def values(self, step: int) -> Array:
        return value(np.log(np.maximum(self.p, 1e-30)), self.labels, self.sampler)


class Carried(Stored):
    """`refresh: carry`: believed logits moved by a ridge regression on what the seen ones show, in every so many steps."""

    every, ridge = 4, 10.0

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.z -= self.z.mean(1, keepdims=True)
        self.seen: list[tuple[Array, Array]] = []
        self.one_hot = np.eye(self.z.shape[1])[self.labels]

    def see(self, index: Array, logits: Array, step: int) -> None:
        self.seen.append((index, logits - logits.mean(1, keepdims=True)))
        self.last[index] = step

    def values(self, step: int) -> Array:
        index, seen = (np.concatenate(parts) for parts in zip(*self.seen, strict=True))
        x = np.hstack([self.z, self.one_hot])
        gram = x[index].T @ x[index] + self.ridge * np.eye(x.shape[1])
        self.z += x @ np.linalg.solve(gram, x[index].T @ (seen - self.z[index]))
        for i, logits in self.seen:
            self.z[i] = logits
        self.seen.clear()
        return super().values(step)


class CarriedOldest(Carried):
    share = 0.15


POLICIES = (Stored, Average, Forgetting, SlowForgetting, Carried, Changed, Anyone, Oldest, CarriedOldest, OldestMore)


def replay(file: Path) -> None:
    data = np.load(file)
    z, index, labels, sampler = data["Z"], data["index"], data["labels"], str(data["sampler"])
    begun = int(np.isfinite(data["stored"][:, 0]).argmax())
    pairs = np.random.default_rng(0).integers(len(labels), size=(2, PAIRS))
    print(f"{sampler}, {len(labels)} examples, {len(z)} steps of {index.shape[1]}, values from step {begun} on")
    print("| policy | probed per drawn | concordance | by fifth of the run |\n| :-- | --: | --: | :-- |")
    for kind in POLICIES:
        policy, due, found = kind(z[begun], labels, sampler, begun), 0.0, []
        for step in range(begun, len(z) - 1):
            policy.see(index[step], z[step][index[step]].astype(np.float64), step)
            due += kind.share * index.shape[1]
            if due >= 1:
                asked = policy.ask(int(due))
                policy.see(asked, z[step][asked].astype(np.float64), step)
                due -= len(asked)
            if step % Carried.every == 0:
                fresh = value(z[step + 1], labels, sampler)
                found.append((step / len(z), concordance(policy.values(step), fresh, pairs)))
        at, score = np.array(found).T
        fifths = [score[(at >= f) & (at < f + 0.2)] for f in (0.0, 0.2, 0.4, 0.6, 0.8)]
        told = " ".join(f"{fifth.mean():.3f}" if len(fifth) else "-" for fifth in fifths)
        print(f"| {kind.__name__} | {kind.share:g} | {score.mean():.3f} | {told} |", flush=True)


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("trace", "replay"))
    parser.add_argument("file", type=Path)
    parser.add_argument("sampler", nargs="?", default="plb", choices=("plb", "peb"))
    parser.add_argument("overrides", nargs="*", help="KEY=VALUE of the study, as in budget=10")
    chosen = parser.parse_args(given)
    if chosen.what == "trace":
        trace(chosen.file, chosen.sampler, chosen.overrides)
    else:
        replay(chosen.file)


if __name__ == "__main__":
    main()
