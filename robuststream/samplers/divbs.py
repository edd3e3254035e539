"""DivBS: a mini-batch that spans the mean gradient of its candidates."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from robuststream.contracts import Batch, Probe, Signals
from robuststream.hyperparameters import hyper
from robuststream.samplers._candidates import FromCandidates

NEXT_TO_NOTHING = 1e-30
"""The least chance of a candidate: where nothing is left of the mean gradient, picks are uniform."""


@dataclass
class DivBS(FromCandidates):
    """Of shuffled candidates, pick one after the other by what its gradient explains of what is unexplained of their mean.

    Paper: Hong et al., ICML 2024, arXiv 2406.04872; details from the released code, 33ae106.
    Cost: n / keep forwards a step to probe, and n products of (n / keep, K^2) features, which only the clock sees.
    Deviations: the last layer's gradient is (softmax - one-hot) x last hidden layer; a probe shows logits only, and they stand
        for the hidden layer, of which they are a linear image. So no more than K (K - 1) picks can be told apart, then picks
        are uniform, as in the released code where nothing is left.
    """

    keep: float = hyper(0.1, above=0.0, high=1.0, help="share of the candidates that is learned", search=(0.1, 0.7))

    def draw(self, probe: Probe, progress: float) -> Batch:
        n = self.pool.batch_size
        candidates = self.candidates(math.ceil(n / self.keep))
        features = last_gradient(probe(candidates))
        u = torch.rand(n, len(candidates), generator=self.generator_, device=features.device, dtype=torch.float64)
        # The largest of p / Exp(1) is a draw in proportion to p: Gumbel's trick without a logarithm of p.
        return Batch(candidates[span_mean(features, (-u.log()).reciprocal())])


def last_gradient(signals: Signals) -> Tensor:
    """(m, K^2) float64: the gradient of each loss by the weights of a linear layer that would follow the logits."""
    logits = signals.logits.double()
    classes = logits.shape[1]
    by_logit = logits.softmax(1) - F.one_hot(signals.labels, classes)
    return (by_logit[:, :, None] * logits[:, None, :]).flatten(1)


def span_mean(features: Tensor, luck: Tensor) -> Tensor:
    """(n,) places among (m, d) features, each picked with chance |<feature, residual>|; `luck` (n, m) is used up.

    The residual of their mean loses each pick's direction, made orthogonal to the picks before it. One pick depends on all
    before it, so they are a loop over n, of fixed shapes.
    """
    residual, rounding = features.mean(0), 1e-9 * features.norm(dim=1)
    directions = features.new_zeros((len(luck), features.shape[1]))
    places = []
    for lucky, direction in zip(luck, directions, strict=True):
        chance = (features @ residual).abs_().clamp_(min=NEXT_TO_NOTHING)
        place = chance.mul_(lucky).argmax(keepdim=True)
        luck.index_fill_(1, place, 0.0)  # picked once
        feature = features.index_select(0, place).squeeze(0)
        new = torch.addmv(feature, directions.T, directions @ feature, alpha=-1.0)
        length = new.norm()
        torch.mul(new, torch.where(length > rounding.index_select(0, place), length.reciprocal(), 0.0), out=direction)
        residual.addcmul_(direction, direction.dot(residual), value=-1.0)
        places.append(place)
    return torch.cat(places)
