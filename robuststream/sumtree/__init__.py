"""Non-negative values at any size: drawn in proportion to, updated where they were seen, at a cost of log N."""

from robuststream.sumtree.sharded import ShardedDraws
from robuststream.sumtree.tree import SumTree

__all__ = ["ShardedDraws", "SumTree"]
