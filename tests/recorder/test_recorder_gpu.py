"""On a CUDA device a recorded step waits for nothing."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gradlab.recorder.recorder import Recorder


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("metrics", ["gradients", "standard"])
def test_no_synchronisation_in_a_recorded_step(metrics: str) -> None:
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.GELU(), nn.Linear(16, 4)).cuda()
    x, y = torch.randn(32, 8, device="cuda"), torch.randint(0, 4, (32,), device="cuda")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Recorder(
        model, probe=None if metrics == "gradients" else x, schedule="all", metrics=metrics
    ) as recorder:
        for step in range(4):
            if step == 2:
                torch.cuda.set_sync_debug_mode("error")
            try:
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                recorder.step(optimizer=optimizer)
                optimizer.step()
            finally:
                if step == 3:
                    torch.cuda.set_sync_debug_mode("default")
    assert recorder.to_frame()["weight_grad_norm"].notna().all()
