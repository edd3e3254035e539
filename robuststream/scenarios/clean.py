"""The clean scenario: the baseline that every other world is compared with."""

from __future__ import annotations

from dataclasses import dataclass

from robuststream.contracts import Scenario


@dataclass
class Clean(Scenario):
    """The world as it is: labels as the data set gives them, inputs untouched.

    Paper: none; every default of `Scenario`.
    Cost: nothing.
    """
