"""A forward pass that leaves no trace: random states, buffers, modes and attributes are as they were before."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


@contextmanager
def evaluation(model: nn.Module) -> Iterator[None]:
    """`model` in eval mode and without gradients; on leaving, everything that a forward pass may change is restored.

    That is: the generators of torch (CPU and every CUDA device in use), NumPy and Python; the buffers (running
    statistics, counters); each module's own training flag; and attributes that the model binds anew, such as the
    hidden state that a recurrent model keeps for its next batch. The modes are set without calling the model's own
    `eval`, which some models override.
    """
    attributes = [(module, dict(module.__dict__), dict(module._buffers)) for module in model.modules()]
    buffers = [(buffer, buffer._version, buffer.detach().clone()) for buffer in model.buffers()]
    states = (torch.random.get_rng_state(), np.random.get_state(), random.getstate())
    devices = {parameter.device for parameter in model.parameters() if parameter.device.type == "cuda"}
    cuda = [(device, torch.cuda.get_rng_state(device)) for device in devices]
    try:
        for module, _, _ in attributes:
            module.training = False
        with torch.no_grad():
            yield
    finally:
        for module, before, own in attributes:
            _restore(module.__dict__, before)
            _restore(module._buffers, own)
        _restore_buffers(buffers)
        torch.random.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])
        for device, state in cuda:
            torch.cuda.set_rng_state(state, device)


def _restore(now: dict[str, Any], before: dict[str, Any]) -> None:
    for name in [name for name in now if name not in before]:
        del now[name]
    now.update(before)


def _restore_buffers(buffers: list[tuple[Tensor, int, Tensor]]) -> None:
    with torch.no_grad():
        for buffer, version, copy in buffers:
            if buffer._version != version:
                buffer.copy_(copy)
