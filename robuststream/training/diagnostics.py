"""Diagnostics of rule 10: what was drawn, what is memorised, how old and how true the stored values are. Off the clock.

The clean labels live here, and nothing here is ever handed to a sampler.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from robuststream.contracts import Sampler, Signals, finite_loss
from robuststream.data.stored import AnyBatches
from robuststream.training.evaluation import logits_of
from robuststream.training.precision import Precise
from robuststream.training.probe import PoolProbe

PANEL = 256
"""Examples on which stored values are compared with fresh ones, and wrong labels looked up, at each evaluation."""
PAIRS = 20_000
BINS = 24


class Diagnostics:
    """Collects references to what was drawn (nothing is computed on the clock) and turns them into figures when asked."""

    def __init__(
        self, sampler: Sampler, probe: PoolProbe, batches: AnyBatches, clean: Tensor, generator: torch.Generator
    ) -> None:
        self.sampler, self.probe, self.batches = sampler, probe, batches
        self.size, self.classes, device = len(clean), batches.num_classes, clean.device
        self.wrong = batches.labels != clean  # (N,) bool
        self.panel = torch.randperm(self.size, generator=generator)[:PANEL].to(device)
        self.pairs = torch.randint(len(self.panel), (2, PAIRS), generator=generator).to(device)
        where = self.wrong.nonzero().squeeze(1)
        self.wrong_panel = where[torch.randperm(len(where), generator=generator)[:PANEL].to(device)]
        self.forget()
        self.recent = torch.empty(0, dtype=torch.int64, device=device)  # the last N draws
        self.last_seen = torch.zeros(self.size, dtype=torch.int64, device=device)  # step of an example's last forward

    def forget(self) -> None:
        """Begin to collect anew."""
        self.steps: list[int] = []  # since the last evaluation
        self.drawn: list[Tensor] = []  # (n,) indices of each of these steps
        self.losses: list[Tensor] = []  # (n,) and their losses

    def saw(self, step: int, index: Tensor, loss: Tensor) -> None:
        """After every step, the (n,) indices and their losses; keeps references only."""
        self.steps.append(step)
        self.drawn.append(index)
        self.losses.append(loss)

    def measure(self, network: Precise, step: int, with_histogram: bool) -> dict[str, Any]:
        """All figures at an evaluation; None where one has no meaning for this run or moment."""
        drawn = torch.cat(self.drawn) if self.drawn else self.recent[:0]
        loss = finite_loss(torch.cat(self.losses), self.classes).double().mean() if self.losses else None
        self.recent = torch.cat([self.recent, drawn])[-self.size :]
        self._note_when_seen(drawn)
        self.forget()
        wrong_drawn, base = _mean(self.wrong.index_select(0, drawn)), _mean(self.wrong)
        probability = self.sampler.draw_probability()
        return {
            "train_loss": None if loss is None else float(loss),
            "wrong_drawn": wrong_drawn,
            "enrichment": wrong_drawn / base if base and wrong_drawn is not None else None,
            "memorised": self._memorised(network),
            "coverage": len(self.recent.unique()) / self.size if len(self.recent) == self.size else None,
            "ess": None if probability is None else float(1.0 / (probability.double() ** 2).sum() / self.size),
            "age": float((step - self.last_seen).double().mean()),
            **self._compare_stored(network, with_histogram),
        }

    def _note_when_seen(self, drawn: Tensor) -> None:
        """`drawn` (M,) are the window's indices."""
        asked = [index for _, index in self.probe.asked]
        steps = self.steps + [step for step, _ in self.probe.asked]
        sizes = [index.numel() for index in self.drawn + asked]
        self.probe.asked.clear()
        if steps:
            when = torch.from_numpy(np.repeat(steps, sizes)).to(self.last_seen.device)  # torch reads lists slowly
            self.last_seen.scatter_reduce_(0, torch.cat([drawn, *asked]), when, "amax")

    def _memorised(self, network: Precise) -> float | None:
        """Share of the wrong labels that the network now predicts."""
        if not len(self.wrong_panel):
            return None
        predicted = logits_of(network, self.batches, self.wrong_panel).argmax(1)
        return _mean(predicted == self.batches.labels[self.wrong_panel])

    def _compare_stored(self, network: Precise, with_histogram: bool) -> dict[str, Any]:
        """The slides' two experiments: are stored values still ordered as fresh ones, and distributed as they are?"""
        table = self.sampler.stored_values()
        if table is None:
            return {"concordance": None}
        logits = logits_of(network, self.batches, self.panel)
        signals = Signals.of(self.panel, self.batches.labels[self.panel], logits)
        stored, fresh = table[self.panel].double(), self.sampler.fresh_values(signals).double()
        if self.sampler.stores_shares:
            fresh = fresh / (fresh.mean() * self.size).clamp(min=1e-12)
        figures: dict[str, Any] = {"concordance": concordance(stored, fresh, self.pairs)}
        known = stored.isfinite()
        if with_histogram and known.any():
            figures["histogram"] = histograms(stored[known], fresh[known])
        return figures

    def state_dict(self) -> dict[str, Any]:
        return {
            "window": [list(each) for each in (self.steps, self.drawn, self.losses)],
            "asked": list(self.probe.asked),
            "recent": self.recent.clone(),
            "last_seen": self.last_seen.clone(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps, self.drawn, self.losses = (list(each) for each in state["window"])
        self.recent, self.last_seen = state["recent"], state["last_seen"]
        self.probe.asked[:] = state["asked"]


def concordance(stored: Tensor, fresh: Tensor, pairs: Tensor) -> float | None:
    """Share of pairs (2, M) that stored values order as fresh ones do: pairs equal when fresh are left out, equal when stored
    count one half (the AUC form of Kendall's tau). None where no pair can be told apart."""
    true = _signs(fresh, pairs)
    ours = _signs(stored, pairs).nan_to_num_(nan=0.0)  # inf - inf: neither is known
    told = true.abs().sum()
    agreed = torch.dot(ours, true)
    return float((told + agreed) / 2.0 / told) if told else None


def _signs(values: Tensor, pairs: Tensor) -> Tensor:
    """(M,) of -1, 0 and 1: how the first of each pair compares with the second; nan for inf beside inf."""
    values = values.double()
    return (values.index_select(0, pairs[0]) - values.index_select(0, pairs[1])).sign_()


def histograms(stored: Tensor, fresh: Tensor) -> dict[str, list[float]]:
    """Both on common edges, from 0 to the larger 99th percentile (the tail falls into the last bin)."""
    top = max(float(stored.quantile(0.99)), float(fresh.quantile(0.99)), 1e-12)
    edges = torch.linspace(0.0, top, BINS + 1, dtype=torch.float64)
    stored, fresh = (values.cpu().clamp(max=top) for values in (stored, fresh))
    return {
        "edges": edges.tolist(),
        "stored": torch.histogram(stored, edges).hist.tolist(),
        "fresh": torch.histogram(fresh, edges).hist.tolist(),
    }


def _mean(values: Tensor) -> float | None:
    return float(values.double().mean()) if len(values) else None
