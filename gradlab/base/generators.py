"""Torch's global generators: kept as the caller has them, or seeded for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def kept(device: str) -> Iterator[None]:
    """Whatever is drawn inside: the generators of the CPU and of `device` (a type) are as before on leaving."""
    on_mps = torch.mps.get_rng_state() if device == "mps" else None
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if device == "cuda" else []):
        try:
            yield
        finally:
            if on_mps is not None:
                torch.mps.set_rng_state(on_mps)


@contextmanager
def seeded(seed: int, device: str) -> Iterator[None]:
    """The generators of the CPU and of `device` start from `seed`; on leaving they are as before, and so are those
    of devices that have no part in it, which `torch.manual_seed` would seed too."""
    with kept(device):
        torch.default_generator.manual_seed(seed)
        if device == "cuda":
            torch.cuda.manual_seed(seed)
        elif device == "mps":
            torch.mps.manual_seed(seed)
        yield
