"""Gains of any model: what torch's own full backward hooks say of each module, or nothing."""

import gc
import weakref
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradlab import Recorder
from gradlab.sensors.metrics import GAINS

F64 = torch.float64
Y = torch.arange(10) % 4


def rows_of(model: nn.Module, x: Tensor, passes: int = 1, **options: object) -> pd.DataFrame:
    """The rows of one step, by name."""
    with Recorder(model, **options) as recorder:
        for part, y in zip(x.chunk(passes), Y.chunk(passes), strict=True):
            (F.cross_entropy(model(part), y) / passes).backward()
        recorder.step()
    return recorder.to_frame().set_index("name")


def shares(model: nn.Module, x: Tensor) -> dict[str, float]:
    """By what factor each module changes the rms of the gradient from its output to its own share in its input."""
    found: dict[str, float] = {}

    def watch(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, by_input: tuple[Tensor], by_output: tuple[Tensor]) -> None:
            if by_input[0] is not None:
                found[name] = float(by_input[0].square().mean().sqrt() / by_output[0].square().mean().sqrt())

        return hook

    handles = [module.register_full_backward_hook(watch(name)) for name, module in model.named_modules()]
    F.cross_entropy(model(x.clone().requires_grad_()), Y).backward()
    for handle in handles:
        handle.remove()
    return found


def holds(rows: pd.DataFrame) -> None:
    """The product of a row's gains is the ratio of its delta to the next row's."""
    rows = rows[rows["delta_rms"].notna()]
    delta, product = rows["delta_rms"].to_numpy(), rows[[*GAINS]].prod(axis=1, min_count=1).to_numpy()
    known = ~np.isnan(product[:-1])
    assert known.any()
    np.testing.assert_allclose(product[:-1][known], (delta[:-1] / delta[1:])[known], rtol=1e-12)


def test_a_sequential_of_linear_maps() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 9), nn.Sigmoid(), nn.Linear(9, 7), nn.Tanh(), nn.Linear(7, 4)).to(F64)
    x = torch.randn(10, 6, dtype=F64)
    rows, expected = rows_of(model, x), shares(model, x)
    assert [*rows["weight_gain"][:2]] == pytest.approx([expected["2"], expected["4"]], rel=1e-12)
    assert [*rows["slope_gain"][:2]] == pytest.approx([expected["1"], expected["3"]], rel=1e-12)
    assert rows[["norm_gain", "other_gain"]].isna().all(axis=None)
    holds(rows)


def test_a_cnn_with_norms_pooling_and_dropout() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(5, 6, 3),
        nn.GroupNorm(2, 6), nn.GELU(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(6 * 9, 4),
    ).to(F64)  # fmt: skip
    x = torch.randn(10, 3, 12, 12, dtype=F64)
    torch.manual_seed(1)
    rows = rows_of(model, x)
    model[2].inplace = False  # which full backward hooks do not take
    torch.manual_seed(1)
    expected = shares(model, x)
    for row, column, module in (
        ("0", "norm_gain", "1"), ("1", "weight_gain", "4"), ("1", "slope_gain", "2"), ("1", "other_gain", "3"),
        ("4", "norm_gain", "5"), ("5", "weight_gain", "9"), ("5", "slope_gain", "6"), ("5", "other_gain", "8"),
    ):  # fmt: skip
        assert rows.loc[row, column] == pytest.approx(expected[module], rel=1e-9), (row, column)
    assert np.isnan(rows.loc["0", "weight_gain"]) and np.isnan(rows.loc["4", "slope_gain"])
    holds(rows)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(8), nn.Linear(8, 16), nn.Linear(16, 8)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(F.gelu(self.up(self.norm(x))))


def test_a_residual_net_gives_the_stream_to_the_rest() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), Block(), Block(), nn.Linear(8, 4)).to(F64)
    x = torch.randn(10, 5, 6, dtype=F64)
    y = Y.repeat_interleave(5)
    with Recorder(model) as recorder:
        F.cross_entropy(model(x).flatten(0, 1), y).backward()
        recorder.step()
    rows = recorder.to_frame().set_index("name")
    holds(rows)
    assert rows[[*GAINS]].notna().any(axis=1).iloc[:-1].all(), "every row is taken by the next"
    stream = model[0](x)
    stream.retain_grad()
    total = torch.cat([stream])
    F.cross_entropy(model[1:](total).flatten(0, 1), y).backward()
    branch = stream.detach().clone().requires_grad_()
    inner = model[1].down(F.gelu(model[1].up(model[1].norm(branch))))
    after = (stream.detach() + inner).detach().requires_grad_()
    F.cross_entropy(model[2:](after).flatten(0, 1), y).backward()
    (share,) = torch.autograd.grad(inner, branch, after.grad)
    ratio = float(stream.grad.square().mean().sqrt() / share.square().mean().sqrt())  # type: ignore[union-attr]
    assert rows.loc["0", "other_gain"] == pytest.approx(ratio, rel=1e-9)


def test_a_transformer_has_them_where_one_row_takes_the_other() -> None:
    torch.manual_seed(0)

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True, norm_first=True)
            self.embed, self.head = nn.Linear(6, 8), nn.Linear(8, 4)
            self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.encoder(self.embed(x)).mean(1))

    rows = rows_of(Model().to(F64), torch.randn(10, 5, 6, dtype=F64))
    holds(rows)
    given = rows.index[rows[[*GAINS]].notna().any(axis=1)]
    assert "encoder.layers.0.linear1" in given and "encoder.layers.1.linear2" in given
    assert "encoder.layers.0.norm1" not in given, "attention takes it: neither a linear map nor a norm"


def test_what_the_next_row_does_not_take_has_no_gains() -> None:
    class Parallel(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.q, self.k, self.out = nn.Linear(6, 8), nn.Linear(6, 8), nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(torch.relu(self.q(x)) * self.k(x))

    rows = rows_of(Parallel().to(F64), torch.randn(10, 6, dtype=F64))
    assert rows.loc["q", [*GAINS]].isna().all(), "k takes x"
    assert rows.loc["k", "weight_gain"] > 0 and np.isnan(rows.loc["k", "slope_gain"])
    holds(rows)


def test_an_activation_of_several_operations_and_a_z_that_is_used_twice() -> None:
    class Swish(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            return z * torch.sigmoid(1.7 * z)

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.low, self.phi, self.high = nn.Linear(6, 8), Swish(), nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            z = self.low(x)
            return self.high(self.phi(z)) + z[:, :4]

    torch.manual_seed(0)
    model, x = Twice().to(F64), torch.randn(10, 6, dtype=F64)
    rows, expected = rows_of(model, x), shares(model, x)
    assert rows.loc["low", "slope_gain"] == pytest.approx(expected["phi"], rel=1e-12)
    assert rows.loc["low", "weight_gain"] == pytest.approx(expected["high"], rel=1e-12)
    assert rows.loc["low", "other_gain"] > 1.01
    holds(rows)


def test_a_gradient_that_a_hook_changes_in_place_is_measured_again() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.low, self.high = nn.Linear(6, 9), nn.Linear(9, 4)

        def forward(self, x: Tensor) -> Tensor:
            h = torch.sigmoid(self.low(x))
            h.register_hook(lambda gradient: gradient.mul_(2))
            return self.high(h)

    torch.manual_seed(0)
    rows = rows_of(Scaled().to(F64), torch.randn(10, 6, dtype=F64))
    assert rows.loc["low", "other_gain"] == pytest.approx(2, rel=1e-12)
    holds(rows)


def test_two_passes_are_one_batch() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 9), nn.Sigmoid(), nn.Linear(9, 4)).to(F64)
    x = torch.randn(10, 6, dtype=F64)
    one = rows_of(model, x)
    model.zero_grad()
    two = rows_of(model, x, passes=2, accumulation=2)
    for name in ("delta_rms", "weight_gain", "slope_gain"):
        np.testing.assert_allclose(two[name], one[name], rtol=1e-12)


class Token:
    """What a node of the graph keeps."""


class Kept(torch.autograd.Function):
    tokens: ClassVar[list[weakref.ref[Token]]] = []

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.token = Token()
        Kept.tokens.append(weakref.ref(ctx.token))
        return x * 2

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient * 2


def test_watching_keeps_no_graph_alive() -> None:
    class Doubled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.low, self.high = nn.Linear(6, 9), nn.Linear(9, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.high(Kept.apply(torch.sigmoid(self.low(x))))

    model = Doubled()
    with Recorder(model, schedule="all") as recorder:
        F.cross_entropy(model(torch.randn(10, 6)), Y)  # an evaluation with gradients, whose loss is dropped
        gc.collect()
        assert [token() for token in Kept.tokens] == [None]
        F.cross_entropy(model(torch.randn(10, 6)), Y).backward()
        recorder.step()
    holds(recorder.to_frame())


def test_without_hooks_there_are_none() -> None:
    model = nn.Sequential(nn.Linear(6, 9), nn.Sigmoid(), nn.Linear(9, 4))
    assert rows_of(model, torch.randn(10, 6), metrics="gradients")[[*GAINS]].isna().all(axis=None)
