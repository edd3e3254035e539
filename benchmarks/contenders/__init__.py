"""Who is measured: our two forms, their peers, and the floor. Each is a small adapter class."""

from contenders._base import Contender as Contender
from contenders.ours import Native, Ours, PureTorch
from contenders.plain import Choice, Floor, Multinomial, Recreated
from contenders.trees import Cpprb, Tianshou, TorchrlSampler, TorchrlTree

OURS: tuple[type[Ours], ...] = (Native, PureTorch)
PEERS: tuple[type[Contender], ...] = (Multinomial, Recreated, Choice, TorchrlTree, TorchrlSampler, Tianshou, Cpprb)
FLOOR: type[Contender] = Floor
