"""Every interval of a report, simulated: a nominal 95 % must hold the truth in 93 to 97 % of studies, at 5, 10, 20 and 50 seeds.

`python tests/test_evidence_coverage.py` prints the table.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from robuststream.evidence.across import improvement, interquartile_mean
from robuststream.evidence.censored import median_interval, restricted_mean
from robuststream.evidence.intervals import Interval, paired_ratio, t_interval, wilson

SEEDS = (5, 10, 20, 50)


def held(intervals: list[Interval | None], truth: float) -> float:
    """Share of the intervals that hold the truth."""
    assert all(intervals)
    return float(np.mean([found.low <= truth <= found.high for found in intervals if found]))


def speed_up(seeds: int) -> float:
    """Geometric mean of paired ratios of log-normal costs: t below 20 pairs, BCa from there on."""
    costs = np.exp(np.random.default_rng(seeds).normal(0.0, 0.3, (2, 2000 if seeds < 20 else 800, seeds)))
    found = [paired_ratio((1.25 * a).tolist(), b.tolist()) for a, b in zip(*costs, strict=True)]
    return held([ratio.interval for ratio in found if ratio], 1.25)


def gap(seeds: int) -> float:
    """Mean gap in points, from test sets of 360 examples, so in steps of 0.28."""
    points = np.random.default_rng(seeds).binomial(360, [[[0.9]], [[0.88]]], (2, 2000, seeds)) / 3.6
    return held([t_interval(row) for row in (points[0] - points[1]).tolist()], 2.0)


def reach(seeds: int) -> float:
    """Wilson's interval, exactly: over true shares from 10 to 90 %, since at one share the coverage of counts is jagged."""
    ends = [wilson(reached, seeds) for reached in range(seeds + 1)]
    shares = np.linspace(0.1, 0.9, 161)
    chances = [
        stats.binom.pmf(reached, seeds, shares) * ((e.low <= shares) & (shares <= e.high)) for reached, e in enumerate(ends)
    ]
    return float(np.sum(chances, axis=0).mean())


def restricted(seeds: int) -> float:
    """Mean cost in shares of the budget, of which one in five is censored."""
    generator = np.random.default_rng(seeds)
    costs, many = (np.exp(generator.normal(math.log(0.75), 0.35, size)) for size in ((2000, seeds), 1_000_000))
    found = [restricted_mean({seed: cost if cost < 1 else None for seed, cost in enumerate(row)}) for row in costs.tolist()]
    return held([mean.interval for mean in found if mean], float(np.minimum(many, 1).mean()))


def median(seeds: int) -> float:
    """Median of skewed ratios, one in ten of them 0: an arm that did not get there."""
    waits = np.random.default_rng(seeds).gamma(1.0, 1.0, (6000, seeds))
    ratios = np.where(waits > stats.gamma.ppf(0.9, 1), 0.0, 2.0 * np.exp(0.3 * (math.log(2) - waits)))
    return held([median_interval(row) for row in ratios.tolist()], 2.0)


def interquartile(seeds: int) -> float:
    """Over three scenarios that lie apart by more than their seeds do."""
    generator, middles, sds = np.random.default_rng(seeds), (92.0, 90.0, 88.0), (0.8, 1.2, 1.5)
    truth = float(
        stats.trim_mean(np.concatenate([generator.normal(m, sd, 200_000) for m, sd in zip(middles, sds, strict=True)]), 0.25)
    )
    studies = [{f"{m}": generator.normal(m, sd, seeds).tolist() for m, sd in zip(middles, sds, strict=True)} for _ in range(500)]
    return held([interquartile_mean(study).interval for study in studies], truth)


def improved(seeds: int) -> float:
    """Over three scenarios: a clear gain, a small one, none."""
    generator, gains = np.random.default_rng(seeds), {"a": 1.5, "b": 0.5, "c": 0.0}
    truth = float(np.mean([stats.norm.cdf(gain / math.sqrt(2)) for gain in gains.values()]))
    found = []
    for _ in range(700):
        own = {name: generator.normal(gain, 1, seeds).tolist() for name, gain in gains.items()}
        found.append(improvement(own, {name: generator.normal(0, 1, seeds).tolist() for name in gains}).interval)
    return held(found, truth)


FIGURES: dict[str, Callable[[int], float]] = {
    "speed-up": speed_up,
    "gap": gap,
    "reach": reach,
    "restricted mean": restricted,
    "median, misses infinite": median,
    "interquartile mean": interquartile,
    "probability of improvement": improved,
}


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("figure", FIGURES)
def test_intervals_hold_the_truth_as_often_as_they_say(figure: str, seeds: int) -> None:
    assert 0.93 <= FIGURES[figure](seeds) <= 0.97


if __name__ == "__main__":
    print("| interval | " + " | ".join(f"{seeds} seeds" for seeds in SEEDS) + " |")
    print("| :-- |" + " --: |" * len(SEEDS))
    for name, simulate in FIGURES.items():
        print(f"| {name} | " + " | ".join(f"{100 * simulate(seeds):.1f} %" for seeds in SEEDS) + " |")
