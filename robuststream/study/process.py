"""What a process that trains sets for itself, once, before anything is trained."""

from __future__ import annotations

import torch

from robuststream.study.allocator import keep_memory


def settle(threads: int) -> None:
    """So many threads; memory is kept; on a GPU convolutions are chosen by their speed, and float32 is float32."""
    torch.set_num_threads(threads)
    keep_memory()
    torch.backends.cudnn.benchmark = True  # a run has few shapes, and each many times
    torch.backends.cudnn.allow_tf32 = False  # else convolutions would round to ten bits, where products do not


def take_gpu(device: str, place: int) -> None:
    """Processes side by side, by their `place` among them, take turns at the machine's GPUs where `device` names none of them."""
    if device == "cuda":
        torch.cuda.set_device(place % torch.cuda.device_count())
