"""time.csv is what autograd says of the same sequences, unrolled by hand, one sample and one step after another."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from gradlab import Recorder

EXACT = 1e-6  # of float64, relative: what the table is promised to
SAMPLES, STEPS, INPUTS, HIDDEN = 4, 5, 3, 5
Cell = Callable[[Tensor, Tensor, Tensor | None], tuple[Tensor, Tensor | None]]


def cell_of(module: nn.Module, suffix: str = "") -> Cell:
    """One step of one sample, written from the equations in torch's documentation."""

    def own(name: str) -> Tensor | None:
        return getattr(module, f"{name}{suffix}", None)

    w_ih, w_hh, b_ih, b_hh, w_hr = (
        own(n) for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
    )
    zero = torch.zeros(w_ih.shape[0])
    b_ih, b_hh = (zero if not isinstance(each, Tensor) else each for each in (b_ih, b_hh))

    def step(x: Tensor, h: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor | None]:
        from_x, from_h = w_ih @ x + b_ih, w_hh @ h + b_hh
        if c is not None:
            i, f, g, o = (from_x + from_h).chunk(4)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            c.retain_grad()
            h = torch.sigmoid(o) * torch.tanh(c)
            return (h if w_hr is None else w_hr @ h), c
        if isinstance(module, nn.GRU | nn.GRUCell):
            (x_r, x_z, x_n), (h_r, h_z, h_n) = from_x.chunk(3), from_h.chunk(3)
            r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
            return (1 - z) * torch.tanh(x_n + r * h_n) + z * h, None
        return (torch.relu if module.nonlinearity == "relu" else torch.tanh)(from_x + from_h), None

    return step


class Unrolled:
    """The states of every layer, direction, step and sample, and the module's outputs made of them."""

    def __init__(self, module: nn.Module, x: list[Tensor], h0: Tensor | None, c0: Tensor | None,
                 masks: list[Tensor] | None = None) -> None:  # fmt: skip
        self.h: dict[str, list[dict[int, Tensor]]] = {}
        self.c: dict[str, list[dict[int, Tensor]]] = {}
        self.last_h: list[Tensor] = []
        self.last_c: list[Tensor] = []
        lstm, ways = isinstance(module, nn.LSTM), 2 if module.bidirectional else 1
        size = module.proj_size or module.hidden_size
        for layer in range(module.num_layers):
            made = []
            for way in range(ways):
                suffix = f"_l{layer}" + ("_reverse" if way else "")
                step, place = cell_of(module, suffix), layer * ways + way
                all_h, all_c, finals, final_cells = [], [], [], []
                for sample, inputs in enumerate(x):
                    h = torch.zeros(size) if h0 is None else h0[place, sample]
                    c = None
                    if lstm:
                        c = torch.zeros(module.hidden_size) if c0 is None else c0[place, sample]
                    own_h, own_c = {}, {}
                    for t in reversed(range(len(inputs))) if way else range(len(inputs)):
                        h, c = step(inputs[t], h, c)
                        h.retain_grad()
                        own_h[t], own_c[t] = h, c
                    all_h.append(own_h)
                    all_c.append(own_c)
                    finals.append(h)
                    final_cells.append(c)
                name = f"rnn.l{layer}" + ("_reverse" if way else "")
                self.h[name], self.c[name] = all_h, all_c
                self.last_h.append(torch.stack(finals))
                if lstm:
                    self.last_c.append(torch.stack(final_cells))
                made.append(all_h)
            x = [
                torch.stack([torch.cat([way[sample][t] for way in made]) for t in range(len(inputs))])
                for sample, inputs in enumerate(x)
            ]
            if masks is not None and layer < module.num_layers - 1:
                x = [own * mask for own, mask in zip(x, masks, strict=True)]
        self.outputs = x

    def loss(self, model: Model) -> Tensor:
        return model.loss(
            self.outputs, torch.stack(self.last_h), torch.stack(self.last_c) if self.last_c else None
        )


def rms_by_time(states: list[dict[int, Tensor]], time: int) -> float:
    """Of one sample's own gradient: the loss is a mean over the samples."""
    found = [
        torch.zeros_like(own[time]) if own[time].grad is None else own[time].grad
        for own in states
        if time in own
    ]
    return float((torch.stack(found) * len(states)).square().mean().sqrt())


class Model(nn.Module):
    """A recurrent module, and a loss of all of its outputs and last states with fixed random weights."""

    def __init__(self, module: nn.Module, lengths: list[int], *, sorted_: bool = True, packed: bool = False,
                 states: tuple[Tensor, ...] | None = None) -> None:  # fmt: skip
        super().__init__()
        self.rnn, self.lengths, self.sorted, self.packed, self.states = (
            module,
            lengths,
            sorted_,
            packed,
            states,
        )
        ways = 2 if getattr(module, "bidirectional", False) else 1
        size = ways * (module.proj_size or module.hidden_size)
        generator = torch.Generator().manual_seed(1)
        self.by_output = torch.randn(SAMPLES, STEPS, size, generator=generator)
        self.by_last = torch.randn(ways * module.num_layers, SAMPLES, size // ways, generator=generator)
        self.by_cell = torch.randn(ways * module.num_layers, SAMPLES, module.hidden_size, generator=generator)

    def loss(self, outputs: list[Tensor], last: Tensor, cells: Tensor | None) -> Tensor:
        own = sum((out * w[: len(out)]).sum() for out, w in zip(outputs, self.by_output, strict=True))
        if cells is not None:
            own = own + (cells * self.by_cell).sum()
        return (own + (last * self.by_last).sum()) / len(outputs)

    def forward(self, x: Tensor) -> Tensor:  # [sample, step, input]
        batch_first = self.rnn.batch_first
        inputs: Any = x if batch_first else x.transpose(0, 1)
        if self.packed:
            inputs = pack_padded_sequence(inputs, self.lengths, batch_first, enforce_sorted=self.sorted)
        given = () if self.states is None else ((self.states if len(self.states) > 1 else self.states[0]),)
        out, last = self.rnn(inputs, *given)
        if self.packed:
            out, _ = pad_packed_sequence(out, batch_first)
        out = out if batch_first else out.transpose(0, 1)
        last, cells = last if isinstance(last, tuple) else (last, None)
        return self.loss([own[:length] for own, length in zip(out, self.lengths, strict=True)], last, cells)


def recorded(model: nn.Module, *inputs: Any, **more: Any) -> pd.DataFrame:
    """One recorded step."""
    with Recorder(model, **more) as recorder:
        model(*inputs).backward()
        recorder.step()
    return recorder.time_table().frame()


def check(frame: pd.DataFrame, reference: Unrolled) -> None:
    assert set(frame["name"]) == set(reference.h)
    for name, rows in frame.groupby("name"):
        assert rows["time"].tolist() == list(range(1, max(map(len, reference.h[name])) + 1))
        for time, delta, of_c in zip(rows["time"], rows["delta_rms"], rows["cell_delta_rms"], strict=True):
            assert delta == pytest.approx(rms_by_time(reference.h[name], time - 1), rel=EXACT)
            if reference.c[name][0][0] is None:
                assert np.isnan(of_c)
            else:
                assert of_c == pytest.approx(rms_by_time(reference.c[name], time - 1), rel=EXACT)


KINDS = {
    "tanh": (nn.RNN, {}),
    "relu": (nn.RNN, {"nonlinearity": "relu", "bias": False}),
    "lstm": (nn.LSTM, {}),
    "projected": (nn.LSTM, {"proj_size": 2}),
    "gru": (nn.GRU, {}),
}


@pytest.mark.parametrize("packed", ["whole", "packed", "unsorted"])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_each_module_equals_autograd_on_a_loop_by_hand(
    kind: str, layers: int, bidirectional: bool, batch_first: bool, packed: str, float64: None
) -> None:
    torch.manual_seed(0)
    build, options = KINDS[kind]
    module = build(INPUTS, HIDDEN, layers, batch_first=batch_first, bidirectional=bidirectional, **options)
    lengths = {"whole": [STEPS] * SAMPLES, "packed": [5, 3, 3, 1], "unsorted": [2, 5, 1, 3]}[packed]
    x = torch.randn(SAMPLES, STEPS, INPUTS)
    places, size = layers * (2 if bidirectional else 1), module.proj_size or HIDDEN
    states = None
    if batch_first:  # with initial states
        states = (torch.randn(places, SAMPLES, size),)
        if build is nn.LSTM:
            states += (torch.randn(places, SAMPLES, HIDDEN),)
    model = Model(module, lengths, packed=packed != "whole", sorted_=packed == "packed", states=states)
    frame = recorded(model, x)
    h0, c0 = (*(states or ()), None, None)[:2]
    reference = Unrolled(module, [own[:n] for own, n in zip(x, lengths, strict=True)], h0, c0)
    reference.loss(model).backward()
    check(frame, reference)


@pytest.fixture
def float64() -> Any:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


class Loop(nn.Module):
    """A cell called in a loop; its states go through a function of the user's between the steps."""

    def __init__(
        self, cell: nn.Module, between: Callable[[Tensor], Tensor] = lambda h: h, last_only: bool = False
    ) -> None:
        super().__init__()
        self.cell, self.between, self.last_only = cell, between, last_only
        self.readout = torch.randn(
            STEPS, SAMPLES, cell.hidden_size, generator=torch.Generator().manual_seed(2)
        )

    def states(self, step: Any, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        h = torch.zeros(SAMPLES, self.cell.hidden_size)
        c = torch.zeros_like(h)
        all_h, all_c = [], []
        for own in x:
            if isinstance(self.cell, nn.LSTMCell):
                h, c = step(own, (h, c))
                all_c.append(c)
            else:
                h = step(own, h)
            all_h.append(h)
            h = self.between(h)
        return all_h, all_c

    def loss(self, all_h: list[Tensor]) -> Tensor:
        if self.last_only:
            return (all_h[-1] * self.readout[-1]).sum() / SAMPLES
        return sum((h * own).sum() for h, own in zip(all_h, self.readout, strict=True)) / SAMPLES

    def forward(self, x: Tensor) -> Tensor:
        return self.loss(self.states(self.cell, x)[0])


@pytest.mark.parametrize("between", ["nothing", "scaled"])
@pytest.mark.parametrize(
    "build", [nn.RNNCell, lambda i, h: nn.RNNCell(i, h, nonlinearity="relu"), nn.LSTMCell, nn.GRUCell]
)
def test_cells_in_a_loop_of_the_users_own(build: Any, between: str, float64: None) -> None:
    torch.manual_seed(0)
    cell = build(INPUTS, HIDDEN)
    loop = Loop(cell, (lambda h: 0.5 * h) if between == "scaled" else (lambda h: h))
    x = torch.randn(STEPS, SAMPLES, INPUTS)
    frame = recorded(loop, x, batch_dim=1)
    assert set(frame["name"]) == {"cell"}
    assert frame["time"].tolist() == list(range(1, STEPS + 1))
    step, cells = cell_of(cell), []  # of each step those of the samples

    def by_hand(own: Tensor, states: Any) -> Any:
        is_lstm = isinstance(states, tuple)
        h, c = states if is_lstm else (states, None)
        made = [step(own[i], h[i], c[i] if is_lstm else None) for i in range(SAMPLES)]
        new = torch.stack([each[0] for each in made])
        cells.append({place: each[1] for place, each in enumerate(made)})
        return (new, torch.stack([each[1] for each in made])) if is_lstm else new

    all_h, _ = loop.states(by_hand, x)
    for each in all_h:
        each.retain_grad()
    loop.loss(all_h).backward()
    expected = [float((h.grad * SAMPLES).square().mean().sqrt()) for h in all_h]
    assert frame["delta_rms"].tolist() == pytest.approx(expected, rel=EXACT)
    if build is nn.LSTMCell:
        of_c = [rms_by_time([{0: c} for c in own.values()], 0) for own in cells]
        assert frame["cell_delta_rms"].tolist() == pytest.approx(of_c, rel=EXACT)
    # what the loop does between two steps is not known, and nothing is said of what is carried through it
    assert frame["carried"].isna().all() == (between == "scaled")


@pytest.mark.parametrize("build", [nn.RNNCell, nn.LSTMCell, nn.GRUCell])
def test_what_is_carried_is_a_gradient_of_the_last_output_alone(build: Any, float64: None) -> None:
    """In a loop whose loss takes the last output alone, `carried` is delta over the last step's."""
    torch.manual_seed(0)
    loop = Loop(build(INPUTS, HIDDEN), last_only=True)
    frame = recorded(loop, torch.randn(STEPS, SAMPLES, INPUTS), batch_dim=1)
    delta = frame["cell_delta_rms"] if build is nn.LSTMCell else frame["delta_rms"]
    assert frame["carried"].tolist() == pytest.approx((delta / delta.iloc[-1]).tolist(), rel=EXACT)
    everywhere = recorded(Loop(loop.cell), torch.randn(STEPS, SAMPLES, INPUTS))
    assert everywhere["carried"].iloc[-1] == 1.0
    assert (everywhere["carried"].iloc[:2] < 0.5).all()  # while its delta comes from outside, step by step


@pytest.mark.parametrize("build", [nn.RNN, nn.LSTM, nn.GRU])
def test_a_module_called_step_by_step_is_the_module_called_once(build: Any, float64: None) -> None:
    """A decoder's loop of single steps and chunks of a sequence have the table of the whole sequence."""
    torch.manual_seed(0)

    class Chunks(nn.Module):
        def __init__(self, rnn: nn.Module, pieces: list[int]) -> None:
            super().__init__()
            self.rnn, self.pieces = rnn, pieces

        def forward(self, x: Tensor) -> Tensor:
            state, made = None, []
            for part in x.split(self.pieces):
                out, state = self.rnn(part, state)
                made.append(out)
            return (torch.cat(made) * weights).sum() / SAMPLES

    weights = torch.randn(STEPS, SAMPLES, HIDDEN)
    x, rnn = torch.randn(STEPS, SAMPLES, INPUTS), build(INPUTS, HIDDEN, 2)
    whole, *others = (
        recorded(Chunks(copy.deepcopy(rnn), p), x, batch_dim=1) for p in ([STEPS], [1] * STEPS, [2, 2, 1])
    )
    for other in others:
        pd.testing.assert_frame_equal(whole, other, rtol=EXACT, atol=0.0)


def test_two_sequences_through_one_module_are_two(float64: None) -> None:
    torch.manual_seed(0)

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.GRU(INPUTS, HIDDEN)

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return (self.rnn(x)[1] * self.rnn(y)[1]).sum() / SAMPLES

    frame = recorded(
        Twice(), torch.randn(STEPS, SAMPLES, INPUTS), torch.randn(3, SAMPLES, INPUTS), batch_dim=1
    )
    assert frame.groupby("name")["time"].max().to_dict() == {"rnn.l0": STEPS, "rnn#2.l0": 3}


def test_several_passes_are_one_batch_and_the_loss_scale_is_undone(float64: None) -> None:
    torch.manual_seed(0)
    model = Model(nn.LSTM(INPUTS, HIDDEN, 2, batch_first=True), [STEPS] * SAMPLES)
    x = torch.randn(SAMPLES, STEPS, INPUTS)
    expected = recorded(model, x)
    with Recorder(model, accumulation=2) as recorder:
        for part in (x, x):
            (model(part) / 2).backward()
        recorder.step()
    twice = recorder.time_table().frame()
    pd.testing.assert_frame_equal(expected, twice, rtol=1e-12)
    with Recorder(model, loss_reduction="sum") as recorder:
        (model(x) * SAMPLES).backward()
        recorder.step()
    pd.testing.assert_frame_equal(expected, recorder.time_table().frame(), rtol=1e-12)


@pytest.mark.parametrize("packed", [False, True])
def test_dropout_between_the_layers_has_the_masks_of_the_training(packed: bool, float64: None) -> None:
    torch.manual_seed(0)
    x, lengths = torch.randn(SAMPLES, STEPS, INPUTS), [5, 3, 3, 1] if packed else [STEPS] * SAMPLES
    rnn = nn.GRU(INPUTS, HIDDEN, 2, dropout=0.5, batch_first=True)
    model = Model(rnn, lengths, packed=packed)
    with Recorder(model) as recorder:
        torch.manual_seed(5)
        loss = model(x)
        loss.backward()
        state = torch.random.get_rng_state()
        recorder.step()
    assert torch.equal(state, torch.random.get_rng_state())
    torch.manual_seed(5)
    shape = (sum(lengths), HIDDEN) if packed else (STEPS, SAMPLES, HIDDEN)
    masks = nn.functional.dropout(torch.ones(shape), 0.5)
    if packed:
        order = [(t, i) for t in range(STEPS) for i in range(SAMPLES) if t < lengths[i]]
        of_sample = [
            torch.stack([masks[order.index((t, i))] for t in range(n)]) for i, n in enumerate(lengths)
        ]
    else:
        of_sample = list(masks.unbind(1))
    reference = Unrolled(rnn, [own[:n] for own, n in zip(x, lengths, strict=True)], None, None, of_sample)
    again = reference.loss(model)
    assert again.item() == pytest.approx(loss.item(), rel=1e-12)  # the masks are the ones
    again.backward()
    check(recorder.time_table().frame(), reference)


def test_what_cannot_be_unrolled_is_left_out(float64: None) -> None:
    """An output that was written to, a module that computes something else: no rows rather than wrong ones."""

    class InPlace(nn.Module):
        def __init__(self, rnn: nn.Module) -> None:
            super().__init__()
            self.rnn, self.write = rnn, False

        def forward(self, x: Tensor) -> Tensor:
            out, _ = self.rnn(x)
            return ((out.mul_(2.0) if self.write else out) ** 2).mean()

    class Other(nn.LSTM):
        def forward(self, x: Tensor, hx: Any = None) -> Any:
            out, last = super().forward(x, hx)
            return out + 0.01, last

    x = torch.randn(STEPS, SAMPLES, INPUTS)
    sound = InPlace(nn.LSTM(INPUTS, HIDDEN))
    assert len(recorded(sound, x)) == STEPS
    sound.write = True
    assert not len(recorded(sound, x))
    assert not len(recorded(InPlace(Other(INPUTS, HIDDEN)), x))
    hooked = InPlace(nn.LSTM(INPUTS, HIDDEN))
    hooked.rnn.register_forward_hook(lambda module, args, output: (output[0] * 2.0, output[1]))
    assert not len(recorded(hooked, x))
    hooked.rnn.register_forward_hook(lambda module, args, output: (output[0][1:], output[1]))
    assert not len(recorded(hooked, x))


class Everything(nn.Module):
    """Dropout between layers, packed sequences, a cell in a loop."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(INPUTS, HIDDEN, 2, dropout=0.3, bidirectional=True)
        self.cell = nn.GRUCell(2 * HIDDEN, HIDDEN)

    def forward(self, x: Tensor) -> Tensor:
        out, _ = self.rnn(pack_padded_sequence(x, [5, 3, 3, 1]))
        h = torch.zeros(SAMPLES, HIDDEN)
        for own in pad_packed_sequence(out)[0]:
            h = self.cell(nn.functional.dropout(own, 0.2, self.training), h)
        return h.square().mean()


def trained(record: bool) -> tuple[list[Tensor], Tensor]:
    torch.manual_seed(0)
    model = Everything()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    recorder = Recorder(model, probe=torch.randn(STEPS, SAMPLES, INPUTS), batch_dim=1, schedule="all")
    with recorder if record else nullcontext():
        for _ in range(5):
            optimizer.zero_grad()
            loss = model(torch.randn(STEPS, SAMPLES, INPUTS))
            loss.backward()
            if record:
                recorder.step(loss=loss, optimizer=optimizer)
            optimizer.step()
    assert len(recorder.time_table()) == (5 * 5 * STEPS if record else 0)  # records, layers, steps
    return [each.detach() for each in model.parameters()], torch.random.get_rng_state()


def test_recording_changes_no_bit_of_the_training() -> None:
    (weights, state), (others, other) = trained(True), trained(False)
    assert all(map(torch.equal, weights, others))
    assert torch.equal(state, other)


def test_a_model_without_recurrence_has_no_such_table(tmp_path: Any) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    with Recorder(model) as recorder:
        hooks = [len(each._forward_pre_hooks) for each in model]
        model(torch.randn(8, 3)).square().mean().backward()
        recorder.step()
    assert hooks == [0, 0, 0]
    assert not len(recorder.time_table())
    assert recorder.save(tmp_path / "saved").time is None
    assert not (tmp_path / "saved" / "time.csv").exists()
