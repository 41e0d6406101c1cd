"""The global generators of torch, NumPy and Python: kept as the caller has them, or seeded for a while."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def kept(device: str) -> Iterator[None]:
    """Draws inside leave no trace: on leaving, the generators of the CPU and of `device` (its type, such as `cuda`),
    NumPy's and Python's are in the state they had before."""
    of_python, of_numpy = random.getstate(), np.random.get_state()
    on_mps = torch.mps.get_rng_state() if device == "mps" else None
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if device == "cuda" else []):
        try:
            yield
        finally:
            random.setstate(of_python)
            np.random.set_state(of_numpy)
            if on_mps is not None:
                torch.mps.set_rng_state(on_mps)


@contextmanager
def seeded(seed: int, device: str) -> Iterator[None]:
    """Inside, the generators of the CPU and of `device`, NumPy's and Python's start from `seed`; on leaving they are in
    the state they had before. Other devices' generators are left alone; `torch.manual_seed` would seed those too."""
    with kept(device):
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.default_generator.manual_seed(seed)
        if device == "cuda":
            torch.cuda.manual_seed(seed)
        elif device == "mps":
            torch.mps.manual_seed(seed)
        yield
