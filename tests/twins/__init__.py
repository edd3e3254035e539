"""One NumPy twin per sampler, and the settings under which both are run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twins._shared import Twin
from twins.infobatch import InfoBatchTwin
from twins.kakurenbo import KakurenboTwin
from twins.katharopoulos import KatharopoulosTwin
from twins.lb import LBTwin
from twins.nlb import NLBTwin
from twins.ohem import OHEMTwin
from twins.ordered_sgd import OrderedSGDTwin
from twins.owc import OWCTwin
from twins.peb import PEBTwin
from twins.plb import PLBTwin
from twins.prioritized import PrioritizedTwin
from twins.rs2 import RS2Twin
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
    "infobatch": InfoBatchTwin,
    "prioritized": PrioritizedTwin,
    "katharopoulos": KatharopoulosTwin,
    "ohem": OHEMTwin,
    "ordered-sgd": OrderedSGDTwin,
    "rs2": RS2Twin,
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
    ("infobatch", {}),
    *(("infobatch", {"prune": prune, "delta": delta}) for prune in (0.0, 0.3, 0.9) for delta in (0.5, 1.0)),
    ("prioritized", {}),
    *(("prioritized", {"warmup_epochs": warm, "refresh": ref}) for warm in (0, 2) for ref in ("pre", "post")),
    *(("prioritized", {"stratified": False, "scale": scale, "alpha": 1, "epsilon": 0.1}) for scale in ("max", "none")),
    ("prioritized", {"alpha": 0, "beta_from": 1.0, "beta_to": 0.0, "scale": "none"}),
    ("katharopoulos", {}),
    *(("katharopoulos", {"threshold": threshold, "decide": decide}) for threshold in (0, 1.15) for decide in ("step", "epoch")),
    *(("katharopoulos", {"threshold": 1.1, "presample": presample, "momentum": 0.5}) for presample in (1, 1.7)),
    *(("ohem", {"keep": keep}) for keep in (0.5, 0.15, 1)),
    ("ohem", {}),
    ("ordered-sgd", {}),
    *(("ordered-sgd", {"keep": keep, "fixed_shapes": fixed}) for keep in (0.05, 0.5, None) for fixed in (True, False)),
    ("rs2", {}),
    *(("rs2", {"keep": keep, "across": across}) for keep in (0.004, 0.3, 1) for across in ("with", "without")),
]
"""Every switch of every sampler, at its ends and between; the defaults of both sides are compared by the empty settings."""


def title(case: Case) -> str:
    name, settings = case
    return "-".join([name, *(f"{key}={value}" for key, value in settings.items())])
