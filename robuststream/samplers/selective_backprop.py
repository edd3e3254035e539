"""Selective-Backprop: look at everything, learn from the biggest losers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robuststream.contracts import Batch, Pool, Probe, Sampler
from robuststream.errors import UserError
from robuststream.hyperparameters import hyper
from robuststream.samplers._deck import Deck


@dataclass
class SelectiveBackprop(Sampler):
    """Probe shuffled candidates; keep each with probability (its loss percentile)^beta; learn when a mini-batch is full.

    Paper: Jiang et al., arXiv 1910.00762, 2019, algorithms 1 and 2; variant=composer: MosaicML composer 6405188.
    Cost: (1 + beta) n forwards a step to probe (n / keep for composer while it is active), beside the step itself;
        reusing, the kept examples have no forward pass of their own.
    Deviations: percentiles count losses <= the example's own, as a CDF does (the released code counts <). While stale, losses
        of the last probe are compared with the history as that probe left it. Composer's down-scaled probe is not offered.
        Reusing, losses are those of the training pass itself, augmented and in train mode, as in composer.
    """

    beta: float = hyper(1.0, above=0.0, help="selectivity: 1/(1+beta) of the candidates are kept on average", search=(0.25, 4.0))
    history: int = hyper(1024, low=1, high=2**20, help="losses that a percentile is taken among")
    stale: int = hyper(1, low=1, help="probe in every stale-th epoch only; in the others reuse its losses")
    variant: str = hyper(
        "paper",
        choices=("paper", "composer", "composer-reusing"),
        help="composer: ranks among n candidates, exact count, fixed shapes; -reusing: and learns from the probing pass itself",
    )
    keep: float = hyper(0.5, above=0.0, high=1.0, help="composer: share of the candidates that is kept")
    active_from: float = hyper(0.5, low=0.0, high=1.0, help="composer: spent share of the budget at which it begins")
    active_until: float = hyper(0.9, low=0.0, high=1.0, help="composer: spent share of the budget at which it ends")
    interrupt: int = hyper(2, low=0, help="composer: every interrupt-th mini-batch is uniform; 0 for none")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.variant != "paper" and self.stale > 1:
            raise UserError(
                f"SelectiveBackprop: stale={self.stale} is not possible with variant={self.variant} (it keeps no losses)"
            )

    @property
    def waits_for_host(self) -> str:
        return "how many candidates fill a mini-batch depends on their losses" if self.variant == "paper" else ""

    @property
    def reuses(self) -> bool:
        return self.variant == "composer-reusing"

    def start(self, pool: Pool, probe: Probe) -> None:
        super().start(pool, probe)
        device = pool.labels.device
        self.deck_ = Deck(self.generator_)
        self.steps_ = 0
        self.queue_ = torch.empty(0, dtype=torch.int64, device=device)  # kept, not yet learned from
        self.history_ = torch.full((self.history,), torch.nan, device=device)  # the last losses, oldest first; nan: none yet
        self.losses_ = torch.full((pool.size if self.stale > 1 else 0,), torch.nan, device=device)  # at the last probe

    def draw(self, probe: Probe, progress: float) -> Batch:
        self.steps_ += 1
        if self.variant != "paper":
            return self._draw_composer(probe, progress)
        n = self.pool.batch_size
        while len(self.queue_) < n:
            candidates = self.deck_.within(n, lambda: self.pool.everyone)
            chance = self._percentile(candidates, probe) ** self.beta
            kept = torch.rand(len(candidates), generator=self.generator_, device=chance.device) < chance
            self.queue_ = torch.cat([self.queue_, candidates[kept]])
        batch, self.queue_ = self.queue_[:n], self.queue_[n:]
        return Batch(batch)

    def _percentile(self, candidates: Tensor, probe: Probe) -> Tensor:
        """(m,) share of the last `history` losses, its own included, that are <= each candidate's loss."""
        if (self.deck_.epochs - 1) % self.stale:
            known = (self.history_ == self.history_).sum()
            return _share_below(self.history_.expand(len(candidates), -1), known, self.losses_[candidates])
        loss = probe(candidates).loss
        if self.stale > 1:
            self.losses_[candidates] = loss  # no repeats within an epoch
        longer = torch.cat([self.history_, loss])
        self.history_ = longer[-self.history :].clone()
        known = (longer == longer).cumsum(0)
        # Row j is the history at the moment when candidate j has just been appended, as in the paper's loop.
        return _share_below(longer.unfold(0, self.history, 1)[1:], known[self.history :] - known[: len(loss)], loss)

    def _draw_composer(self, probe: Probe, progress: float) -> Batch:
        n = self.pool.batch_size
        candidates = self.deck_.deal(n, lambda: self.pool.everyone)
        interrupted = self.interrupt > 0 and self.steps_ % self.interrupt == 0
        if interrupted or not self.active_from <= progress < self.active_until:
            return Batch(candidates)
        signals = probe(candidates, "lesson") if self.reuses else probe(candidates)
        rank = signals.loss.argsort(stable=True).argsort(stable=True)
        log_chance = (1 / self.keep - 1) * ((rank + 0.5) / n).log()
        # Largest of log p + Gumbel noise: the same as drawing one by one without replacement in proportion to p.
        u = torch.rand(n, generator=self.generator_, device=rank.device)
        kept = (log_chance - (-u.log()).log()).topk(max(1, int(self.keep * n))).indices
        return Batch(candidates[kept], places=kept if self.reuses else None)

    def stored_values(self) -> Tensor | None:
        return self.losses_ if self.stale > 1 else None


def _share_below(histories: Tensor, known: Tensor, loss: Tensor) -> Tensor:
    """(m,) share of the `known` losses in each row of (m, R) that are <= the (m,) loss; nan is not known."""
    below = torch.le(histories, loss[:, None], out=histories.new_empty(histories.shape))
    return below.sum(1) / known  # counts as floats, exact up to 2^24: torch adds bools at a fifth of the speed
