"""Why streams of hard examples diverge: the gradients and the curvature that each stream sees, on one and the same network.

A network is trained uniformly; at some moments the values of its pool are taken fresh, and for each stream are measured the
root mean square norm of a mini-batch's gradient, and the sharpness of the loss that it descends (the largest eigenvalue of the
Hessian of sum_i p_i w_i L_i, by power iteration). SGD is stable while the rate times the sharpness stays below a constant, so a
stream that sees r times uniform's sharpness bears about 1/r of uniform's rate.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robuststream.contracts import Signals
from robuststream.studies import load_study
from robuststream.study.plan import plan
from robuststream.training.evaluation import logits_of
from robuststream.training.step import take_step
from robuststream.training.world import World, build_world

Stream = Callable[[Signals], tuple[Tensor, Tensor]]  # signals of the pool -> (N,) probabilities, (N,) weights


def proportional(values: Tensor) -> tuple[Tensor, Tensor]:
    return values.double() / values.double().sum(), torch.ones(len(values))


def corrected(values: Tensor, exponent: float) -> tuple[Tensor, Tensor]:
    """The weights' mean under the draws is 1: their scale is the rate's, not the stream's."""
    p = proportional(values)[0]
    weight = (p * len(p)).clamp(min=1e-12) ** -exponent
    return p, (weight / (p * weight).sum()).float()


STREAMS: dict[str, Stream] = {
    "uniform": lambda signals: proportional(torch.ones_like(signals.loss)),
    "plb": lambda signals: proportional(signals.loss),
    "peb": lambda signals: proportional(signals.entropy),
    "plb, temper 0.5": lambda signals: proportional(signals.loss**0.5),
    "plb, clip 3": lambda signals: proportional(signals.loss.minimum(3 * signals.loss.mean())),
    "plb, mix 0.5": lambda signals: proportional(signals.loss / signals.loss.mean() + 1.0),
    "plb, correct 0.5": lambda signals: corrected(signals.loss, 0.5),
    "plb, correct 1": lambda signals: corrected(signals.loss, 1.0),
}


def losses(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(network(images), labels, reduction="none")


def gradient_norm(world: World, p: Tensor, weight: Tensor, generator: torch.Generator, batches: int = 8) -> float:
    """Root mean square over mini-batches."""
    parameters, squares = list(world.bare.parameters()), []
    for _ in range(batches):
        index = torch.multinomial(p, world.pool.batch_size, replacement=True, generator=generator)
        loss = (losses(world.bare, *world.train.plain(index)) * weight[index]).mean()
        squares.append(sum(float(g.double().square().sum()) for g in torch.autograd.grad(loss, parameters)))
    return (sum(squares) / batches) ** 0.5


def sharpness(world: World, p: Tensor, weight: Tensor, generator: torch.Generator, rounds: int = 8) -> float:
    """The eigenvalue of largest size of the Hessian of the stream's expected loss."""
    parameters = list(world.bare.parameters())
    images, labels = world.train.plain(world.pool.everyone)
    loss = (losses(world.bare, images, labels) * (p * weight).float()).sum()
    gradients = torch.autograd.grad(loss, parameters, create_graph=True)
    direction = [torch.randn(g.shape, generator=generator) for g in gradients]
    value = 0.0
    for _ in range(rounds):
        norm = sum(float(d.square().sum()) for d in direction) ** 0.5
        direction = [d / norm for d in direction]
        product = torch.autograd.grad(gradients, parameters, grad_outputs=direction, retain_graph=True)
        value = sum(float((d * h).sum()) for d, h in zip(direction, product, strict=True))
        direction = list(product)
    return value


def table(world: World, spent: float) -> str:
    generator = torch.Generator().manual_seed(0)
    logits = logits_of(world.bare, world.train, world.pool.everyone)
    signals = Signals.of(world.pool.everyone, world.pool.labels, logits)
    rows, base = [], (1.0, 1.0)
    for name, stream in STREAMS.items():
        p, weight = stream(signals)
        found = gradient_norm(world, p, weight, generator), sharpness(world, p, weight, generator)
        base = found if name == "uniform" else base
        rows.append(
            f"| {spent:.0%} | {name} | {found[0]:.3g} | {found[0] / base[0]:.1f} | {found[1]:.3g} | {found[1] / base[1]:.1f} |"
        )
    return "\n".join(rows)


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("overrides", nargs="*", help="KEY=VALUE of the study, as in recipe.lr=0.1")
    parser.add_argument("--at", type=float, nargs="+", default=[0.1, 0.4], help="shares of the budget")
    chosen = parser.parse_args(given)
    study = load_study("noisy-labels", ["samplers=uniform", "scenarios=clean", "seeds=1", *chosen.overrides])
    world, recipe = build_world(run := plan(study, Path())[0].settings), run.recipe
    world.clock.to("draw")
    world.sampler.start(world.pool, world.probe)
    world.network.train()
    print("| spent | stream | gradient norm | to uniform | sharpness | to uniform |\n| --: | :-- | --: | --: | --: | --: |")
    for share in chosen.at:
        while world.ledger.spent < share:
            take_step(world, recipe)
        print(table(world, share), flush=True)
        world.network.train()


if __name__ == "__main__":
    main()
