"""One NumPy twin per sampler, and the settings under which both are run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twins._shared import Twin
from twins.active_bias import ActiveBiasTwin
from twins.adaptive_k import AdaptiveKTwin
from twins.divbs import DivBSTwin
from twins.ent_elb import EntElbTwin
from twins.ies import IESTwin
from twins.infobatch import InfoBatchTwin
from twins.kakurenbo import KakurenboTwin
from twins.katharopoulos import KatharopoulosTwin
from twins.lb import LBTwin
from twins.loshchilov_hutter import LoshchilovHutterTwin
from twins.nlb import NLBTwin
from twins.ohem import OHEMTwin
from twins.ordered_sgd import OrderedSGDTwin
from twins.owc import OWCTwin
from twins.peb import PEBTwin
from twins.plb import PLBTwin
from twins.prioritized import PrioritizedTwin
from twins.rs2 import RS2Twin
from twins.selective_backprop import SelectiveBackpropTwin
from twins.self_paced import SelfPacedTwin
from twins.seta import SeTaTwin
from twins.small_loss import SmallLossTwin
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
    "ies": IESTwin,
    "seta": SeTaTwin,
    "adaptive-k": AdaptiveKTwin,
    "ent-elb": EntElbTwin,
    "divbs": DivBSTwin,
    "active-bias": ActiveBiasTwin,
    "small-loss": SmallLossTwin,
    "loshchilov-hutter": LoshchilovHutterTwin,
    "self-paced": SelfPacedTwin,
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
    ("active-bias", {}),
    *(
        ("active-bias", {"by": by, "form": form, "burn_in": 0.2})
        for by in ("variance", "closeness")
        for form in ("draw", "weigh")
    ),
    ("active-bias", {"burn_in": 0}),
    ("small-loss", {}),
    ("small-loss", {"estimate_at": 0, "ramp": 0.5}),
    *(("small-loss", {"noise_rate": rate, "ramp": ramp}) for rate in (None, 0.0, 0.4) for ramp in (0.0, 0.5)),
    ("loshchilov-hutter", {}),
    ("loshchilov-hutter", {"pressure_from": 1e8, "pressure_to": 10.0, "sort_every": 1}),
    *(
        ("loshchilov-hutter", {"recompute_every": 0.7, "recompute_share": share, "pressure_from": 1.0})
        for share in (0.001, 0.5, 1)
    ),
    ("self-paced", {}),
    *(("self-paced", {"first": first, "warmup_epochs": warm, "growth": 2.0}) for first in (0.01, 1) for warm in (0, 2)),
    ("ies", {}),
    *(("ies", {"threshold": threshold, "window": window, "k": k}) for threshold in (0.01, 1e3) for window, k in ((1, 1), (2, 2))),
    ("seta", {}),
    *(("seta", {"prune": prune, "groups": groups, "window": 0.9, "delta": 0.5}) for prune in (0, 0.4) for groups in (1, 10)),
    ("adaptive-k", {}),
    *(("adaptive-k", {"vanilla": vanilla, "fixed_shapes": fixed}) for vanilla in (0, 0.5) for fixed in (True, False)),
    ("ent-elb", {}),
    *(("ent-elb", {"score": score, "refresh": ref, "warmup_epochs": 0}) for score in ("ent", "elb") for ref in ("pre", "post")),
    ("ent-elb", {"distinct": False}),
    ("divbs", {}),
    *(("divbs", {"keep": keep}) for keep in (0.4, 1)),
]
"""Every switch of every sampler, at its ends and between; the defaults of both sides are compared by the empty settings."""


def title(case: Case) -> str:
    name, settings = case
    return "-".join([name, *(f"{key}={value}" for key, value in settings.items())])
