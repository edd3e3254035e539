"""Checks of what a sampler draws: legal, finite, reproducible, resumable, and good enough to learn from."""

from __future__ import annotations

import copy
import io
import math
import pickle
import re
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from robuststream.checks.toy import BATCH_SIZE, CLASSES, EPOCH, SPAN, Distortion, Factory, ToyLoop, ToyWorld
from robuststream.contracts import Batch, Pool

LEARNING_SPAN = 3 * SPAN
"""Steps within which an easy task must be learned."""
GOOD_ACCURACY = 0.8
"""Chance is 1/4; uniform shuffling reaches 1.00."""


def legal_draws(factory: Factory) -> str:
    """Draws are int64 indices of the pool, 1 to n of them, of a steady number, without gradient."""
    loop = ToyLoop(factory, ToyWorld())
    sizes: set[int] = set()
    for _ in range(SPAN):
        batch = loop.draw()
        assert_legal(batch, loop.world.pool)
        sizes.add(len(batch.index))
        loop.observe(loop.learn(batch))
    # Two sizes and not one: a method may be off for a part of the budget. More would mean that data decides.
    assert len(sizes) <= 2 or loop.sampler.waits_for_host, (
        f"mini-batches of {len(sizes)} different sizes were drawn ({sorted(sizes)}); draw pool.batch_size examples at every "
        "step, or say in waits_for_host why their number depends on data"
    )
    return ""


def finite_weights(factory: Factory) -> str:
    """Weights are finite, not negative and not all zero; the factor of the learning rate is a positive number."""
    loop = ToyLoop(factory, ToyWorld())
    for _ in range(SPAN):
        batch = loop.draw()
        assert_finite(batch)
        loop.observe(loop.learn(batch))
    return ""


def same_seed_same_draws(factory: Factory) -> str:
    """Two samplers started on pools of the same seed draw the same, bit for bit."""
    first, second = (ToyLoop(factory, ToyWorld(seed=0)).run(SPAN) for _ in range(2))
    step = first_difference(first, second)
    assert step is None, (
        f"two runs of one seed draw differently from step {step} on; take every random number from self.generator_"
    )
    return ""


def other_seed_other_draws(factory: Factory) -> str:
    """A sampler started on a pool of another seed draws differently."""
    first, second = (ToyLoop(factory, ToyWorld(seed=seed)).run(SPAN) for seed in (0, 1))
    assert first_difference(first, second) is not None, (
        f"runs of seeds 0 and 1 draw the same for {SPAN} steps; pool.seed must decide: draw from self.generator_"
    )
    return ""


def resumes_bit_equal(factory: Factory) -> str:
    """A state saved in mid-epoch and loaded into a fresh sampler goes on bit for bit, and is nobody's live tensor."""
    for steps in (5, 2 * EPOCH + EPOCH // 2):
        _resume_after(steps, factory)
    return ""


def _resume_after(steps: int, factory: Factory) -> None:
    loop = ToyLoop(factory, ToyWorld())
    loop.run(steps)
    state = loop.sampler.state_dict()
    as_saved = copy.deepcopy(state)
    weights = copy.deepcopy(loop.world.probe.network.state_dict())
    file = io.BytesIO()
    torch.save(state, file)
    expected = loop.run(2 * EPOCH)
    live = difference(as_saved, state)
    assert not live, f"state_dict()['{live}'] changes while training goes on; return clones"

    loaded = _load(file)
    resumed = ToyLoop(factory, ToyWorld())
    resumed.world.probe.network.load_state_dict(weights)
    resumed.steps = steps
    resumed.sampler.load_state_dict(loaded)
    step = first_difference(expected, resumed.run(2 * EPOCH))
    assert step is None, (
        f"resumed after step {steps}, draws differ from step {steps + step} on; keep all state in attributes that end in _, "
        "and load them all"
    )
    kept = difference(as_saved, loaded)
    assert not kept, f"load_state_dict keeps and changes the given '{kept}'; copy it"


def _load(file: io.BytesIO) -> dict[str, Any]:
    """As a checkpoint is loaded: what is not plain could run code, and is refused."""
    file.seek(0)
    try:
        return torch.load(file, weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        what = named.group(1) if named else "an object"
    raise AssertionError(f"state_dict() holds {what}; only tensors, numbers, text, lists and mappings can be saved")


def survives_extreme_losses(factory: Factory) -> str:
    """Draws stay legal and finite while all losses are zero, equal, huge, or one is not finite."""
    for name, distortion in DISTORTIONS.items():
        loop = ToyLoop(factory, ToyWorld(distortion=distortion))
        for step in range(SPAN // 2):
            try:
                batch = loop.draw()
                assert_legal(batch, loop.world.pool)
                assert_finite(batch)
                loop.observe(loop.learn(batch))
            except Exception as error:
                raise AssertionError(f"step {step} where {name}: {type(error).__name__}: {error}") from error
    return ""


def learns_a_toy_task(factory: Factory) -> str:
    """A small network learns four separable classes well above chance within some hundred steps."""
    loop = ToyLoop(factory, ToyWorld(), span=LEARNING_SPAN)
    loop.run(LEARNING_SPAN)
    accuracy = loop.world.accuracy()
    assert accuracy > GOOD_ACCURACY, (
        f"accuracy {accuracy:.2f} after {LEARNING_SPAN} steps of {BATCH_SIZE} examples (chance {1 / CLASSES:.2f}, asked "
        f"{GOOD_ACCURACY}); does every class get drawn, and do weights and lr_scale stay near 1 on average?"
    )
    return f"accuracy {accuracy:.2f} after {LEARNING_SPAN} steps"


def _one(value: float) -> Distortion:
    def distort(logits: Tensor, labels: Tensor) -> Tensor:
        logits = logits.clone()
        logits[:1, 0] = value
        return logits

    return distort


DISTORTIONS: dict[str, Distortion] = {
    "all losses are zero": lambda logits, labels: 1e3 * F.one_hot(labels, CLASSES).float(),
    "all losses are equal": lambda logits, labels: torch.zeros_like(logits),
    "all losses are 1e4": lambda logits, labels: -1e4 * F.one_hot(labels, CLASSES).float(),
    "one logit is not a number": _one(math.nan),
    "one logit is +infinite": _one(math.inf),
    "one logit is -infinite": _one(-math.inf),
}
"""What a sampler is shown instead of the network's logits."""


def assert_legal(batch: Batch, pool: Pool) -> None:
    assert isinstance(batch, Batch), f"draw must return a Batch, not {type(batch).__name__}"
    index = batch.index
    assert isinstance(index, Tensor), f"Batch.index must be a tensor, not {type(index).__name__}"
    assert index.dtype == torch.int64, f"Batch.index must be int64, not {index.dtype}"
    assert index.ndim == 1, f"Batch.index must be of shape (n,), not {tuple(index.shape)}"
    assert index.device == pool.labels.device, f"Batch.index must be on the pool's device {pool.labels.device}"
    assert 1 <= len(index) <= pool.batch_size, f"Batch.index holds {len(index)} indices; allowed: 1 to {pool.batch_size}"
    low, high = int(index.min()), int(index.max())
    assert low >= 0, f"Batch.index holds {low}; allowed: 0 to {pool.size - 1}"
    assert high < pool.size, f"Batch.index holds {high}; allowed: 0 to {pool.size - 1}"


def assert_finite(batch: Batch) -> None:
    scale = batch.lr_scale
    assert isinstance(scale, (int, float)), f"Batch.lr_scale must be a number, not {type(scale).__name__}"
    assert math.isfinite(scale), f"Batch.lr_scale is {scale}; it must be finite and positive"
    assert scale > 0, f"Batch.lr_scale is {scale}; it must be finite and positive"
    weight = batch.weight
    if weight is None:
        return
    assert isinstance(weight, Tensor), f"Batch.weight must be a tensor or None, not {type(weight).__name__}"
    assert weight.is_floating_point(), f"Batch.weight must be float, not {weight.dtype}"
    assert weight.shape == batch.index.shape, f"Batch.weight is of shape {tuple(weight.shape)}, not {tuple(batch.index.shape)}"
    assert not weight.requires_grad, "Batch.weight carries a gradient; detach it"
    assert weight.isfinite().all(), "Batch.weight holds values that are not finite"
    assert (weight >= 0).all(), f"Batch.weight holds {float(weight.min())}; weights are not negative"
    assert (weight > 0).any(), "Batch.weight is zero for every drawn example; nothing would be learned"


def first_difference(first: list[Batch], second: list[Batch]) -> int | None:
    """The first step at which two runs drew differently, in any bit; None where they drew the same."""
    pairs = zip(first, second, strict=True)
    return next((step for step, (a, b) in enumerate(pairs) if difference(_parts(a), _parts(b))), None)


def _parts(batch: Batch) -> dict[str, Any]:
    return {"index": batch.index, "weight": batch.weight, "lr_scale": batch.lr_scale}


def difference(a: Any, b: Any) -> str:
    """Where two states of named parts differ, as 'key.key'; '' where they are equal bit for bit (two nans are equal)."""
    path = _path_to_difference(a, b)
    return "" if path is None else ".".join(path)


def _path_to_difference(a: Any, b: Any) -> list[str] | None:
    if type(a) is not type(b):
        return []
    if isinstance(a, Tensor):
        same = a.shape == b.shape and a.dtype == b.dtype and bool(((a == b) | ((a != a) & (b != b))).all())
        return None if same else []
    if isinstance(a, (list, tuple)):
        a, b = dict(enumerate(a)), dict(enumerate(b))
    if not isinstance(a, dict):
        return None if a == b or (a != a and b != b) else []
    if a.keys() != b.keys():
        return [str(next(iter(a.keys() ^ b.keys())))]
    inner = ((key, _path_to_difference(a[key], b[key])) for key in a)
    return next(([str(key), *path] for key, path in inner if path is not None), None)
