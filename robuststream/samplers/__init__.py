"""Samplers: one file per method, found by its name. The two families that most methods extend are exported here."""

from robuststream.samplers._deck import Deck
from robuststream.samplers._streaming import Streaming

__all__ = ["Deck", "Streaming"]
