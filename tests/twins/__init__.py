"""One NumPy twin per sampler, and the settings under which both are run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twins._shared import Twin
from twins.kakurenbo import KakurenboTwin
from twins.lb import LBTwin
from twins.nlb import NLBTwin
from twins.owc import OWCTwin
from twins.peb import PEBTwin
from twins.plb import PLBTwin
from twins.selective_backprop import SelectiveBackpropTwin
from twins.uniform import UniformTwin

TWINS: dict[str, Callable[..., Twin]] = {
    "uniform": UniformTwin,
    "owc": OWCTwin,
    "lb": LBTwin,
    "nlb": NLBTwin,
    "plb": PLBTwin,
    "peb": PEBTwin,
    "selective-backprop": SelectiveBackpropTwin,
    "kakurenbo": KakurenboTwin,
}

Case = tuple[str, dict[str, Any]]

CASES: list[Case] = [
    ("uniform", {}),
    ("owc", {}),
    *(("owc", {"alpha": alpha, "refresh": refresh}) for alpha in (0.002, 0.5) for refresh in ("pre", "post")),
    ("owc", {"warmup_epochs": 1}),
    *(
        (lb, {"norm": norm, "refresh": ref})
        for lb in ("lb", "nlb")
        for norm in ("literal", "within_batch")
        for ref in ("pre", "post")
    ),
    *((lb, {"warmup_epochs": 0.5}) for lb in ("lb", "nlb")),
    *((b, {"warmup_epochs": warm, "refresh": ref}) for b in ("plb", "peb") for warm in (0, 1, 2) for ref in ("pre", "post")),
    *((b, {}) for b in ("plb", "peb")),
    *(
        (b, {"refresh_oldest": share, "refresh": ref})
        for b in ("plb", "owc", "nlb")
        for share in (0.15, 2)
        for ref in ("pre", "post")
    ),
    *((b, {"refresh": "carry"}) for b in ("plb", "peb", "lb", "nlb")),
    *((b, {"refresh": "carry", "refresh_oldest": 0.5, "warmup_epochs": 1}) for b in ("plb", "peb", "lb")),
    *((b, {"temper": temper}) for b in ("plb", "nlb") for temper in (0.5, 2)),
    *((b, {"clip": clip}) for b in ("plb", "peb", "owc", "lb") for clip in (1.5, 3)),
    ("lb", {"clip": 3, "norm": "within_batch", "temper": 0.5}),
    *(("peb", {"mix": mix, "correct": correct}) for mix, correct in ((0.3, 0), (0, 1), (0.5, 0.5), (1, 1))),
    ("plb", {"refresh": "carry", "refresh_oldest": 0.15, "clip": 4, "temper": 0.5, "mix": 0.2, "correct": 0.4}),
    *(("selective-backprop", {"beta": beta, "stale": stale}) for beta in (0.5, 1, 2) for stale in (1, 2, 3)),
    *(("selective-backprop", {"history": history, "stale": stale}) for history in (1, 20, 10_000) for stale in (1, 2)),
    *(("selective-backprop", {"variant": "composer", "interrupt": interrupt}) for interrupt in (0, 2, 3)),
    ("selective-backprop", {"variant": "composer", "keep": 0.3, "active_from": 0.1, "active_until": 1.0}),
    ("kakurenbo", {}),
    ("kakurenbo", {"lr_from": "cap"}),
    ("kakurenbo", {"threshold": 0.95, "max_hidden": 0.6}),
    ("kakurenbo", {"threshold": 0.0, "max_hidden": 0.0}),
    ("kakurenbo", {"official_quirks": True, "threshold": 0.3, "max_hidden": 0.5}),
    ("kakurenbo", {"official_quirks": True, "lr_from": "cap"}),
]
"""Every switch of every sampler, at its ends and between; the defaults of both sides are compared by the empty settings."""


def title(case: Case) -> str:
    name, settings = case
    return "-".join([name, *(f"{key}={value}" for key, value in settings.items())])
