"""Torch's global generators: kept as the caller has them, or seeded for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def kept(device: str) -> Iterator[None]:
    """Draws inside leave no trace: on leaving, the generators of the CPU and of `device` (its type, such as `cuda`) are
    in the state they had before."""
    on_mps = torch.mps.get_rng_state() if device == "mps" else None
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if device == "cuda" else []):
        try:
            yield
        finally:
            if on_mps is not None:
                torch.mps.set_rng_state(on_mps)


@contextmanager
def seeded(seed: int, device: str) -> Iterator[None]:
    """Inside, the generators of the CPU and of `device` start from `seed`; on leaving they are in the state they had
    before. Other devices' generators are left alone; `torch.manual_seed` would seed those too."""
    with kept(device):
        torch.default_generator.manual_seed(seed)
        if device == "cuda":
            torch.cuda.manual_seed(seed)
        elif device == "mps":
            torch.mps.manual_seed(seed)
        yield
