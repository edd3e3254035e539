"""OHEM: online hard example mining."""

from __future__ import annotations

import math
from dataclasses import dataclass

from robuststream.contracts import Batch, Probe
from robuststream.hyperparameters import hyper
from robuststream.samplers._candidates import FromCandidates, largest


@dataclass
class OHEM(FromCandidates):
    """Of shuffled candidates, learn those with the largest losses.

    Paper: Shrivastava, Gupta, Girshick, CVPR 2016, arXiv 1604.03540.
    Cost: n / keep forwards a step to probe.
    Deviations: examples stand for a detector's regions, so nothing is suppressed that overlaps, and keep is ours: there 128 of
        about 2 x 2000 regions.
    """

    keep: float = hyper(0.5, above=0.0, high=1.0, help="share of the candidates that is learned", search=(0.1, 0.9))

    def draw(self, probe: Probe, progress: float) -> Batch:
        n = self.pool.batch_size
        candidates = self.candidates(math.ceil(n / self.keep))
        return Batch(candidates[largest(probe(candidates).loss, n)])
