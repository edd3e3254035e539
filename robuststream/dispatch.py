"""Watching torch's operations one by one."""

from __future__ import annotations

from torch.utils._python_dispatch import TorchDispatchMode


class Watching(TorchDispatchMode):
    """A TorchDispatchMode that torch does not keep from its compiler: to do so, it would import it, which takes seconds."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False
