"""attention.csv says what the weights of each head are, whoever computes them, and a collapse is named."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import gradlab
from gradlab.analyse.results import diagnose_saved
from gradlab.recorder.attention import measured
from gradlab.sensors import metrics as mt
from gradlab.store.results import read_folder

WIDTH, HEADS, LENGTH, ROWS = 12, 3, 7, 40
Core = Callable[[Tensor, Tensor, Tensor], Tensor]
ABOVE = torch.ones(LENGTH, LENGTH, dtype=torch.bool).triu(1)


class Attention(nn.Module):
    """Queries, keys and values of its own; `core` makes of them what comes out, [sample, head, position, unit]."""

    def __init__(self, core: Core) -> None:
        super().__init__()
        self.qkv, self.out, self.core = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH), core

    def split(self, x: Tensor) -> Tensor:
        return self.qkv(x).unflatten(-1, (3, HEADS, WIDTH // HEADS)).permute(2, 0, 3, 1, 4)

    def forward(self, x: Tensor) -> Tensor:
        found = self.core(*self.split(x))
        return self.out(found.reshape(len(x), HEADS, LENGTH, -1).transpose(1, 2).flatten(2))


class Net(nn.Module):
    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.attention, self.out = attention, nn.Linear(WIDTH, 2)

    def forward(self, x: Tensor) -> Tensor:
        attended = self.attention(x)
        return self.out(x + attended).mean(1)


def trained(
    net: nn.Module, x: Tensor, y: Tensor, steps: int = 3, lr: float = 0.01, **given: object
) -> gradlab.Recorder:
    optimizer = torch.optim.Adam(net.parameters(), lr)
    recorder = gradlab.Recorder(net, x, targets=y, criterion=nn.MSELoss(), steps=steps, **given)  # type: ignore[arg-type]
    with recorder:
        for _ in range(steps):
            optimizer.zero_grad()
            loss = F.mse_loss(net(x), y)
            loss.backward()
            recorder.step(loss=loss, optimizer=optimizer)
            optimizer.step()
    return recorder


def scaled(q: Tensor, k: Tensor) -> Tensor:
    return q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])


def by_hand(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return scaled(q, k).softmax(-1) @ v


def causal_by_hand(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    weights = torch.softmax(scaled(q, k).masked_fill(ABOVE, torch.finfo(q.dtype).min), dim=-1)
    return F.dropout(weights, 0.1, training=False) @ v


def causal_as_bert(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    logits = torch.einsum("bhqd,bhkd->bhqk", q, k) / math.sqrt(q.shape[-1]) - 1e4 * ABOVE.to(q.dtype)
    return torch.einsum("bhqk,bhkd->bhqd", F.softmax(logits, dim=-1), v)


def in_one_axis(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    q, k, v = (part.flatten(0, 1) for part in (q, k, v))
    return torch.bmm(torch.bmm(q, k.transpose(1, 2)).div(math.sqrt(q.shape[-1])).softmax(2), v)


def turned(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    weights = (k @ q.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(-2)
    return weights.transpose(-2, -1) @ v


CORES: dict[str, tuple[Core, bool]] = {
    "by hand": (by_hand, False),
    "by hand, causal": (causal_by_hand, True),
    "as BERT masks": (causal_as_bert, True),
    "heads in the axis of samples": (in_one_axis, False),
    "softmax along another axis": (turned, False),
    "sdpa": (F.scaled_dot_product_attention, False),
    "sdpa, causal": (lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True), True),
    "sdpa, mask": (lambda q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=~ABOVE), True),
}


def expected(q: np.ndarray, k: np.ndarray, causal: bool) -> tuple[np.ndarray, np.ndarray]:
    """Entropy as a share of its maximum, and the largest logit, row by row as the definition has it; q, k: of one
    sample, [head, position, unit] each, lists of samples in front."""
    shares: list[list[float]] = [[] for _ in range(HEADS)]
    largest = np.full(HEADS, -np.inf)
    for sample in range(len(q)):
        for head in range(HEADS):
            for row in range(LENGTH):
                allowed = row + 1 if causal else LENGTH
                logits = k[sample, head, :allowed] @ q[sample, head, row] / math.sqrt(WIDTH // HEADS)
                largest[head] = max(largest[head], logits.max())
                weights = np.exp(logits - logits.max())
                weights /= weights.sum()
                if allowed > 1:
                    shares[head].append(-(weights * np.log(weights)).sum() / math.log(allowed))
    return np.array([np.mean(each) for each in shares]), largest


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def data(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    return torch.randn(ROWS, LENGTH, WIDTH, dtype=dtype), torch.randn(ROWS, 2, dtype=dtype)


def first(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["step"] == 0].reset_index(drop=True)


@pytest.mark.parametrize("name", CORES)
def test_the_entropy_and_the_largest_logit_are_those_of_the_definition(name: str) -> None:
    core, causal = CORES[name]
    net, (x, y) = Net(Attention(core)).double(), data()
    q, k, _ = net.attention.split(x).detach().numpy()
    entropy, largest = expected(q, k, causal)
    rows = first(trained(net, x, y).attention_table().frame())
    assert list(rows["name"]) == ["attention"] * HEADS and list(rows["head"]) == [1, 2, 3]
    assert set(rows["head_dim"]) == {WIDTH // HEADS} and set(rows["keys"]) == {LENGTH}
    np.testing.assert_allclose(rows["entropy"], entropy, rtol=0, atol=1e-6)
    np.testing.assert_allclose(rows["logit_max"], largest, rtol=1e-6)


@pytest.mark.parametrize("weights", [True, False])
@pytest.mark.parametrize("first_axis", [True, False])
def test_torchs_own_module_counts_with_its_masks(weights: bool, first_axis: bool) -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mha = nn.MultiheadAttention(WIDTH, HEADS, batch_first=first_axis)

        def forward(self, x: Tensor) -> Tensor:
            x = x if first_axis else x.transpose(0, 1)
            found = self.mha(x, x, x, need_weights=weights, attn_mask=ABOVE)[0]
            return found if first_axis else found.transpose(0, 1)

    net, (x, y) = Net(Own()).double(), data()
    mha = net.attention.mha
    q, k, _ = (
        F.linear(x, mha.in_proj_weight, mha.in_proj_bias)
        .unflatten(-1, (3, HEADS, WIDTH // HEADS)).permute(2, 0, 3, 1, 4).detach().numpy()
    )  # fmt: skip
    entropy, largest = expected(q, k, causal=True)
    rows = first(trained(net, x, y).attention_table().frame())
    assert set(rows["name"]) == {"attention.mha"}
    np.testing.assert_allclose(rows["entropy"], entropy, rtol=0, atol=1e-6)
    np.testing.assert_allclose(rows["logit_max"], largest, rtol=1e-6)


def test_an_encoder_is_seen_though_it_has_a_fast_path_with_padding() -> None:
    layer = nn.TransformerEncoderLayer(WIDTH, 2, 16, batch_first=True)

    class Padded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.TransformerEncoder(layer, 2)

        def forward(self, x: Tensor) -> Tensor:
            padding = torch.arange(LENGTH).expand(len(x), -1) > 1  # two entries are left
            return self.encoder(x, src_key_padding_mask=padding)

    x, y = data(torch.float32)
    rows = first(trained(Net(Padded()), x, y).attention_table().frame())
    assert set(rows["name"]) == {f"attention.encoder.layers.{number}.self_attn" for number in (0, 1)}
    assert rows["entropy"].between(0.5, 1).all()  # of log 2; of log 7 it could be 0.36 at most


def test_a_product_with_weights_and_a_softmax_that_weighs_nothing_are_no_attention() -> None:
    class Gate(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.layer = nn.Parameter(torch.randn(WIDTH, WIDTH)), nn.Linear(WIDTH, WIDTH)

        def forward(self, x: Tensor) -> Tensor:
            gate = (x @ self.weight.t()).softmax(-1) @ torch.ones(WIDTH, WIDTH)
            return gate + self.layer(x).softmax(-1) @ torch.ones(WIDTH, WIDTH) + (x @ x.mT).softmax(-1).sum()

    x, y = data(torch.float32)
    recorder = trained(Net(Gate()), x, y)
    assert not len(recorder.attention_table())
    assert list(recorder.attention_table().columns)[:4] == ["seed", "step", "name", "head"]


def test_rows_of_one_entry_do_not_count_and_what_is_no_number_shows() -> None:
    logits = torch.zeros(2, 3, 4, 5, dtype=torch.float64)
    logits[:, 0, :, 1:] = -torch.inf  # one entry in each row
    logits[:, 1, 0] = -1e9  # no entry in one row
    logits[0, 2, 0, 0] = torch.nan
    entropy, largest = measured(logits)
    np.testing.assert_array_equal(entropy, [np.nan, 1.0, np.nan])
    np.testing.assert_array_equal(largest, [0.0, 0.0, np.nan])


def test_large_logits_are_no_mask() -> None:
    logits = 1e6 * torch.randn(4, 1, 50, 50, dtype=torch.float64)
    entropy, _ = measured(logits)
    weights = logits.softmax(-1)
    np.testing.assert_allclose(entropy, torch.special.entr(weights).sum(-1).mean() / math.log(50), atol=1e-9)


def test_the_weights_are_the_same_with_and_without() -> None:
    def final(record: bool) -> list[Tensor]:
        torch.manual_seed(1)
        net = Net(nn.Sequential(Attention(by_hand), Attention(F.scaled_dot_product_attention)))
        x, y = data(torch.float32)
        if record:
            trained(net, x, y, steps=12)
        else:
            optimizer = torch.optim.Adam(net.parameters(), 0.01)
            for _ in range(12):
                optimizer.zero_grad()
                F.mse_loss(net(x), y).backward()
                optimizer.step()
        return [each.detach() for each in net.parameters()]

    assert all(torch.equal(one, other) for one, other in zip(final(True), final(False), strict=True))


# -- verdicts ------------------------------------------------------------------------------------------------


def times(factor: float) -> Core:
    return lambda q, k, v: (factor * scaled(q, k)).softmax(-1) @ v


def test_logits_times_sixty_are_named_with_the_division_and_a_saved_folder_says_the_same(
    tmp_path: Path,
) -> None:
    x, y = data(torch.float32)
    recorder = trained(Net(Attention(times(1000.0))), 3 * x, y, steps=120, lr=1e-4)
    diagnosis = recorder.diagnose()
    assert diagnosis.verdicts[0] == "attention-collapse"
    assert "sqrt(4)" in diagnosis.advice and "of its maximum" in diagnosis.findings[0].evidence
    recorder.save(tmp_path / "saved")
    again = diagnose_saved(read_folder(tmp_path / "saved"))[0]
    assert (
        again.verdicts == diagnosis.verdicts and again.findings[0].evidence == diagnosis.findings[0].evidence
    )


def table(entropy: list[float], logit: float) -> pd.DataFrame:
    rows = [
        {"seed": 0, "step": step, "name": "attn", "head": 1, "function": "softmax", "head_dim": 64, "keys": 12,
         "entropy": share, "logit_max": logit}
        for step, share in zip((0, 50, 100, 150, 200), entropy, strict=True)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def judged(entropy: list[float], logit: float, learns: bool) -> tuple[str, ...]:
    steps = [0, 50, 100, 150, 200]
    layers = pd.DataFrame(
        [
            {"depth": 2, "seed": 0, "step": step, "layer": layer, "delta_rms": 0.1, "nonfinite": 0}
            for step in steps
            for layer in (1, 2, 3)
        ]
    )
    loss = [1.0, 0.5, 0.3, 0.2, 0.1] if learns else [1.0] * 5
    run = pd.DataFrame(
        {"seed": 0, "step": steps, "train_loss": loss, "probe_loss": loss, "baseline_loss": 1.0}
    )
    return gradlab.diagnose(layers, run, cell_columns=(), attention=table(entropy, logit))[0].verdicts


@pytest.mark.parametrize(
    ("entropy", "logit", "learns", "named"),
    [
        ([0.2] * 5, 16.0, False, True),
        ([0.21] * 5, 16.0, False, False),
        ([0.2] * 5, 15.9, False, False),
        ([0.2] * 5, 60.0, True, False),  # a net that learns is not ill of it
        ([0.05] * 5, 50.0, True, True),  # born on one entry, and still there
        ([0.051] * 5, 50.0, True, False),
        ([0.05] * 5, 49.9, True, False),
        ([0.9, 0.05, 0.02, 0.02, 0.02], 90.0, True, False),  # a head that learned to copy
        ([0.9, 0.5, 0.1, 0.1, 0.1], 90.0, False, True),
    ],
)
def test_the_thresholds_of_a_collapse(entropy: list[float], logit: float, learns: bool, named: bool) -> None:
    assert ("attention-collapse" in judged(entropy, logit, learns)) == named


class Stack(nn.Module):
    """Attention upon attention, with a skip connection around each or without."""

    def __init__(self, skip: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.MultiheadAttention(WIDTH, HEADS, batch_first=True) for _ in range(6))
        self.first, self.last, self.skip = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH), skip

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for layer in self.layers:
            found = layer(x, x, x, need_weights=False)[0]
            x = x + found if self.skip else found
        return self.last(x)


@pytest.mark.parametrize("skip", [True, False])
def test_attention_upon_attention_collapses_to_rank_one_unless_it_is_skipped(skip: bool) -> None:
    x = torch.randn(ROWS, LENGTH, WIDTH)
    recorder = trained(Stack(skip), x, x.flip(1), steps=120, lr=1e-3, metrics="full")
    assert ("rank-collapse" in recorder.verdicts) == (not skip)
    last = first(recorder.to_frame()).query("name == 'last'")
    assert (last["effective_rank"] < 1.5).all() == (not skip)
    assert (last["token_correlation"] > 0.99).all() == (not skip)


def test_token_correlation_and_effective_rank_are_those_of_the_definition() -> None:
    h = torch.randn(5, 6, 4, dtype=torch.float64)
    h[0, 2] = 0  # a position without direction does not count
    each = []
    for sample in h.numpy():
        rows = [row / np.linalg.norm(row) for row in sample if row.any()]
        each.append(np.mean([a @ b for i, a in enumerate(rows) for j, b in enumerate(rows) if i != j]))
    found = mt.tokens_alike(mt.first_positions(h).unsqueeze(0))["token_correlation"]
    np.testing.assert_allclose(found, [np.mean(each)], rtol=1e-12)
    rows = h.reshape(1, -1, 4)
    values = np.linalg.svd(rows[0].numpy(), compute_uv=False)
    shares = values / values.sum()
    rank = mt.effective_rank(mt.some_rows(rows))["effective_rank"]
    np.testing.assert_allclose(rank, [np.exp(-(shares * np.log(shares)).sum())], rtol=1e-12)
    odd = torch.stack([torch.eye(4), torch.ones(4, 4), torch.zeros(4, 4), torch.full((4, 4), torch.nan)])
    np.testing.assert_allclose(
        mt.effective_rank(mt.some_rows(odd))["effective_rank"], [4, 1, np.nan, np.nan], rtol=1e-6
    )
