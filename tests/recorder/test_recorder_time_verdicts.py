"""A gradient lost or blown up through the steps of a recurrent layer is named; a net that learns is not ill."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import gradlab
from gradlab.analyse.results import diagnose_saved
from gradlab.report import figures
from gradlab.store.results import read_folder
from gradlab.theory.recurrent import carried, step_factors

CLASSES, HIDDEN = 4, 32
Data = Callable[[int], tuple[Tensor, Tensor]]


class Net(nn.Module):
    """A recurrent module with a readout of its last output, or of every one."""

    def __init__(self, rnn: nn.RNNBase, every: bool = False) -> None:
        super().__init__()
        self.rnn, self.every = rnn, every
        self.out = nn.Linear(rnn.hidden_size * (2 if rnn.bidirectional else 1), CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        h, _ = self.rnn(x)
        return self.out(h if self.every else h[:, -1])


def criterion(outputs: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.cross_entropy(outputs.flatten(0, -2), targets.flatten())


def trained(net: nn.Module, data: Data, steps: int, lr: float, known: bool = True) -> gradlab.Recorder:
    """known: whether the recorder is told of the loss"""
    x, y = data(128)
    task = {"probe": x, "targets": y, "criterion": criterion} if known else {}
    optimizer = torch.optim.Adam(net.parameters(), lr)
    recorder = gradlab.Recorder(net, steps=steps, **task)
    with recorder:
        for _ in range(steps):
            inputs, targets = data(32)
            optimizer.zero_grad()
            loss = criterion(net(inputs), targets)
            loss.backward()
            recorder.step(loss=loss if known else None, optimizer=optimizer)
            optimizer.step()
    return recorder


def cue(length: int, at: int) -> Data:
    """The class to be named is shown in one step, all others are noise."""

    def data(samples: int) -> tuple[Tensor, Tensor]:
        y = torch.randint(0, CLASSES, (samples,))
        x = torch.cat([0.3 * torch.randn(samples, length, CLASSES), torch.zeros(samples, length, 1)], dim=-1)
        x[:, at] = 0
        x[torch.arange(samples), at, y] = x[:, at, CLASSES] = 1
        return x, y

    return data


def one_before(length: int) -> Data:
    """In every step the class that was shown in the step before."""

    def data(samples: int) -> tuple[Tensor, Tensor]:
        classes = torch.randint(0, CLASSES, (samples, length))
        y = torch.roll(classes, 1, 1)
        y[:, 0] = 0
        return nn.functional.one_hot(classes, CLASSES + 1).float(), y

    return data


def of_radius(radius: float, seed: int) -> nn.RNN:
    """Recurrent weights of a normal distribution, of this spectral radius."""
    torch.manual_seed(seed)
    rnn = nn.RNN(CLASSES, 64, batch_first=True)
    with torch.no_grad():
        weight = torch.randn(64, 64)
        rnn.weight_hh_l0.copy_(weight * radius / torch.linalg.eigvals(weight).abs().max())
        rnn.bias_ih_l0.zero_()
        rnn.bias_hh_l0.zero_()
    return rnn


def small_inputs(length: int) -> Data:
    """So small that tanh is as good as linear until its states have grown by themselves."""

    def data(samples: int) -> tuple[Tensor, Tensor]:
        return 1e-6 * torch.randn(samples, length, CLASSES), torch.randint(0, CLASSES, (samples,))

    return data


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("length", [30, 100])  # 1.5^30 leaves the states linear, in 100 steps they saturate
@pytest.mark.parametrize("every", [False, True])
def test_the_spectral_radius_decides_where_the_signal_is_small(seed: int, length: int, every: bool) -> None:
    def verdicts(radius: float) -> tuple[str, ...]:
        data = small_inputs(length)
        if every:
            data = lambda n: (small_inputs(length)(n)[0], torch.randint(0, CLASSES, (n, length)))  # noqa: E731
        return trained(Net(of_radius(radius, seed), every), data, 2, 0.0, known=False).verdicts

    assert verdicts(0.5) == ("vanishing",)
    assert verdicts(1.0) == ("undecided",)
    assert verdicts(1.5) == ("exploding",)


def test_a_driven_tanh_layer_vanishes_even_where_its_radius_is_1() -> None:
    """Inputs of variance 1 leave tanh a small slope: the theory's factor is far below the radius, and right."""
    rnn = of_radius(1.0, 0)
    with torch.no_grad():
        rnn.weight_ih_l0.normal_(0, 1 / math.sqrt(CLASSES))
    recorder = trained(
        Net(rnn),
        lambda n: (torch.randn(n, 100, CLASSES), torch.randint(0, CLASSES, (n,))),
        2,
        0.0,
        known=False,
    )
    assert recorder.verdicts == ("vanishing",)
    layer = recorder.time_table().frame().query("step == 0")
    measured, theory = (layer[name].iloc[-5] for name in ("carried", "carried_predicted"))
    assert measured == pytest.approx(
        theory, rel=0.25
    )  # 4 steps at width 64: the gain of one matrix scatters by 1/8
    assert theory < 0.7**4


def test_theory_is_the_mean_over_random_layers() -> None:
    """N = 512, eight matrices: what is left after each of 6 steps, at the measured variance."""
    ratios = []
    for seed in range(8):
        torch.manual_seed(seed)
        rnn = nn.RNN(CLASSES, 512, batch_first=True)
        with torch.no_grad():
            rnn.weight_hh_l0.normal_(0, 1.2 / math.sqrt(512))
        recorder = trained(
            Net(rnn),
            lambda n: (torch.randn(n, 7, CLASSES), torch.randint(0, CLASSES, (n,))),
            2,
            0.0,
            known=False,
        )
        rows = recorder.time_table().frame().query("step == 0")
        ratios.append((rows["carried"] / rows["carried_predicted"]).to_numpy())
        delta = rows["delta_rms"] / rows["delta_rms_predicted"]
        assert delta.to_numpy() == pytest.approx(1.0, abs=0.15)
    mean = np.mean(ratios, axis=0)
    # each step's factor scatters by about 1/sqrt(512) a matrix, and adds up over 6 steps and 8 matrices
    assert mean.tolist() == pytest.approx([1.0] * 7, abs=4 * math.sqrt(6 / 512 / 8))


def test_the_factors_are_products_of_slopes() -> None:
    chi = step_factors("relu", 3.0, [1.0, 2.0, 0.5])  # E[phi'^2] of a ReLU is 1/2 at any variance
    assert chi.tolist() == pytest.approx([1.5] * 3)
    assert carried(chi).tolist() == pytest.approx([1.5, math.sqrt(1.5), 1.0])


def forgetting(bias: float) -> nn.LSTM:
    lstm = nn.LSTM(CLASSES + 1, HIDDEN, batch_first=True)
    with torch.no_grad():
        lstm.bias_ih_l0[HIDDEN : 2 * HIDDEN] = bias
        lstm.bias_hh_l0[HIDDEN : 2 * HIDDEN] = 0
    return lstm


@pytest.mark.parametrize("known", [False, True])
def test_an_lstm_that_forgets_is_named_with_its_gates(known: bool) -> None:
    torch.manual_seed(0)
    recorder = trained(Net(forgetting(-5.0)), cue(30, 0), 110 if known else 2, 1e-3, known)
    diagnosis = recorder.diagnose()
    assert diagnosis.verdicts == (("vanishing", "not-learning") if known else ("vanishing",))
    finding = diagnosis.findings[0]
    assert finding.place == "at birth, through time in rnn.l0"
    assert "lost through the forget gates, which keep 0.006" in finding.evidence  # sigmoid(-5) = 0.0067
    assert "the output at step 30 reaches back 2 steps of 29" in finding.evidence


class Encoded(Net):
    """With layers in front that a gradient comes down through, too."""

    def __init__(self, rnn: nn.RNNBase) -> None:
        super().__init__(rnn)
        sizes = [CLASSES + 1] * 3
        self.encoder = nn.Sequential(*(part for size in sizes for part in (nn.Linear(size, size), nn.Tanh())))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.encoder(x))


def test_a_fault_through_time_spends_nothing_between_layers() -> None:
    torch.manual_seed(0)
    recorder = trained(Encoded(forgetting(-5.0)), cue(30, 2), 5, 0.01, known=False)
    finding = next(each for each in recorder.diagnose().findings if each.where)
    assert "through the forget gates" in finding.evidence
    assert recorder.to_frame()["weight_gain"].notna().any()
    assert finding.budget == {} and "lose" not in finding.evidence


def test_an_rnn_that_must_remember_over_100_steps_vanishes() -> None:
    torch.manual_seed(0)
    recorder = trained(Net(nn.RNN(CLASSES + 1, HIDDEN, batch_first=True)), cue(100, 0), 110, 1e-3)
    diagnosis = recorder.diagnose()
    assert diagnosis.verdicts == ("vanishing", "not-learning")
    assert diagnosis.findings[0].where == "rnn.l0"
    assert "the output at step 100 reaches back" in diagnosis.findings[0].evidence
    assert "theory says" in diagnosis.findings[0].evidence
    assert "orthogonal_(model.rnn.weight_hh_l0)" in diagnosis.advice


def test_both_directions_of_an_rnn_lose_the_middle() -> None:
    torch.manual_seed(0)
    rnn = nn.RNN(CLASSES + 1, 16, batch_first=True, bidirectional=True)
    assert trained(Net(rnn), cue(100, 50), 110, 1e-3).verdicts[0] == "vanishing"


@pytest.mark.parametrize(
    ("rnn", "data", "every"),
    [
        (lambda: nn.RNN(CLASSES + 1, HIDDEN, batch_first=True), one_before(100), True),
        (lambda: nn.RNN(CLASSES + 1, HIDDEN, batch_first=True), cue(60, 59), False),
        (lambda: forgetting(1.0), cue(12, 6), False),
        (lambda: nn.GRU(CLASSES + 1, HIDDEN, batch_first=True), cue(12, 6), False),
        (lambda: forgetting(-5.0), cue(30, 29), False),
    ],
    ids=["rnn, every output", "rnn, last input", "lstm", "gru", "forgetful lstm that needs no memory"],
)
def test_a_net_that_learns_is_healthy_however_its_gradient_fades(rnn: Any, data: Data, every: bool) -> None:
    torch.manual_seed(0)
    recorder = trained(Net(rnn(), every), data, 150, 1e-2)
    assert recorder.verdicts == ("healthy",)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[tuple[gradlab.Recorder, Path]]:
    torch.manual_seed(0)
    recorder = trained(Net(nn.RNN(CLASSES + 1, HIDDEN, batch_first=True)), cue(60, 0), 110, 1e-3)
    recorder.save(tmp_path / "saved")
    yield recorder, tmp_path / "saved"


def test_a_module_of_several_layers_and_directions_is_saved_and_read_back(tmp_path: Path) -> None:
    rnn = nn.RNN(CLASSES + 1, 4, num_layers=2, bidirectional=True, batch_first=True)
    recorder = trained(Net(rnn), cue(5, 0), 2, 1e-3)
    recorder.save(tmp_path / "saved")
    names = read_folder(tmp_path / "saved").time["name"].unique()
    assert list(names) == ["rnn.l0", "rnn.l0_reverse", "rnn.l1", "rnn.l1_reverse"]


def test_a_saved_folder_has_the_table_the_verdict_and_the_figure(
    folder: tuple[gradlab.Recorder, Path],
) -> None:
    recorder, path = folder
    found = read_folder(path)
    own = recorder.time_table().frame()
    pd.testing.assert_frame_equal(found.time[list(own)], own, check_dtype=False)
    assert found.summary["verdict"].tolist() == ["vanishing,not-learning"]
    (saved,), now = diagnose_saved(found), recorder.diagnose()
    assert saved.findings == now.findings
    figure = figures.plot(found, "time")
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["step 0"] * 2 + ["step 109"] * 2
    lines = {line.get_label() for ax in figure.axes for line in ax.lines}
    assert {"rnn.l0", "theory"} <= lines


def test_a_cure_of_the_gates_opens_them() -> None:
    """The code of the advice, run as it is written."""
    torch.manual_seed(0)
    model = Net(forgetting(-5.0))
    (cure,) = trained(model, cue(30, 0), 2, 0.0, known=False).diagnose().cures
    with torch.no_grad():
        model.rnn.bias_ih_l0.zero_()
    exec(cure.code, {"torch": torch, "model": model})
    recorder = trained(model, cue(30, 0), 2, 0.0, known=False)
    assert recorder.verdicts == ("undecided",)
    assert recorder.time_table().frame()["forget_gate"].min() > 0.9
