"""The same training on a CUDA device; skipped where there is none."""

import numpy as np
import pytest
import torch
from reference import stacks

from gradlab.train.loop import Training

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
# Products of a GPU add in another order: each layer of a pass and each update brings errors of a few float64
# roundings, which twenty updates may carry along and grow; 1e-9 leaves six decimal digits for that.
CLOSE = 1e-9


@pytest.mark.parametrize("flags", [
    {"activation": "tanh"},
    {"activation": "prelu", "optimizer": "adam"},
    {"activation": "relu", "norm": "batch", "residual": "pre", "depth": 4},
    {"norm": "torch.nn:BatchNorm1d", "optimizer": "torch.optim:Adagrad", "loss": "torch.nn:MultiMarginLoss"},
])  # fmt: skip
def test_cpu_and_gpu_agree(flags: dict[str, object]) -> None:
    flags = {**flags, "steps": 20, "dtype": "float64"}
    on_cpu, on_gpu = (stacks.train(**flags, device=device) for device in ("cpu", "cuda"))
    np.testing.assert_allclose(stacks.scalars(on_gpu), stacks.scalars(on_cpu), rtol=CLOSE, atol=1e-12)
    np.testing.assert_allclose(stacks.layers(on_gpu), stacks.layers(on_cpu), rtol=CLOSE, atol=1e-12)


def test_a_captured_pass_fills_the_gradients_of_the_pass_it_captured() -> None:
    stack = stacks.make_stack(activation="relu", device="cuda", dtype="float32")
    training = Training(stack, stack.cell.dataset())
    x, y = training._batch()
    training._plain_step(0)
    assert training.captured is not None
    x, y = training._batch()
    training.captured.run(x, y)
    captured = [gradient.clone() for gradient in training.captured.gradients]
    expected = training._backward(training.loss.of(training.mlp(x), y))
    for got, wanted in zip(captured, expected, strict=True):
        torch.testing.assert_close(got, wanted)


def test_a_plain_step_waits_for_nothing() -> None:
    stack = stacks.make_stack(activation="gelu", device="cuda")
    training = Training(stack, stack.cell.dataset())
    training._plain_step(0)
    x, y = training._batch()
    torch.cuda.set_sync_debug_mode("error")
    try:
        assert training.captured is not None
        training.captured.run(x, y)
        training._update(1, training.captured.gradients, None)
    finally:
        torch.cuda.set_sync_debug_mode("default")
