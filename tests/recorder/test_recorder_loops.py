"""Loops that differentiate more than their loss, change their model, or call the recorder at the wrong moment."""

import copy
import pickle
import threading
import warnings
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_sequence

from gradlab.base.errors import ConfigError
from gradlab.recorder.recorder import Recorder

F64 = torch.float64
X = torch.randn(6, 8, dtype=F64, generator=torch.Generator().manual_seed(7))
Y = torch.arange(6) % 4


def net(*sizes: int) -> nn.Sequential:
    torch.manual_seed(2)
    sizes = sizes or (8, 7, 4)
    parts = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), nn.Tanh())]
    return nn.Sequential(*parts[:-1]).to(F64)


def rows(recorder: Recorder, step: int = 0):  # type: ignore[no-untyped-def]
    found = recorder.to_frame()
    return found[found["step"] == step].set_index("name")


def assert_same(recorder: Recorder, expected: Recorder) -> None:
    a, b = rows(recorder), rows(expected)
    for column in ("batch", "delta_rms", "weight_grad_norm"):
        assert a[column].tolist() == pytest.approx(b[column].tolist(), rel=1e-12), column


def loss(model: nn.Module, x: Tensor = X, y: Tensor = Y) -> Tensor:
    return F.cross_entropy(model(x), y)


@pytest.fixture
def plain() -> Recorder:
    model = net()
    with Recorder(model) as recorder:
        loss(model).backward()
        recorder.step()
    return recorder


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_saliency_map_is_no_part_of_the_loss(when: str, plain: Recorder) -> None:
    """torch.autograd.grad by inputs brings the parameters nothing."""
    model = net()

    def look() -> None:
        x = torch.ones(50, 8, dtype=F64, requires_grad=True)
        torch.autograd.grad(model(x).square().sum(), x)

    with Recorder(model) as recorder:
        if when == "before":
            look()
        loss(model).backward()
        if when == "after":
            look()
        recorder.step()
    assert_same(recorder, plain)


def test_an_attack_under_accumulation(plain: Recorder) -> None:
    model = net()
    with Recorder(model, accumulation=2) as recorder:
        for part in (slice(0, 3), slice(3, 6)):
            x = X[part].clone().requires_grad_()
            (gradient,) = torch.autograd.grad(loss(model, x, Y[part]), x)
            assert gradient.abs().sum() > 0
            (loss(model, X[part], Y[part]) / 2).backward()
        recorder.step()
    assert_same(recorder, plain)


def test_zero_grad_after_the_forward_pass_throws_the_others_away(plain: Recorder) -> None:
    """As a GAN's loop may do it: the generator's step went through the discriminator before."""
    model = net()
    with Recorder(model) as recorder:
        model(torch.ones(9, 8, dtype=F64)).square().sum().backward()
        value = loss(model)
        model.zero_grad()
        value.backward()
        recorder.step()
    assert_same(recorder, plain)


@pytest.mark.parametrize("interior_first", [True, False])
def test_a_loss_made_of_derivatives_counts_all_its_samples(interior_first: bool) -> None:
    """A physics-informed net: the order of its parts is nothing to the gradient, and nothing to the rows."""
    model = net(1, 5, 1)
    inside, edge = torch.linspace(0, 1, 20, dtype=F64)[:, None], torch.tensor([[0.0], [1.0]], dtype=F64)

    def interior() -> Tensor:
        x = inside.clone().requires_grad_()
        u = model(x)
        (slope,) = torch.autograd.grad(u.sum(), x, create_graph=True)
        return (slope + u).square().mean()

    with Recorder(model) as recorder:
        parts = [interior, lambda: model(edge).square().mean()]
        total = sum(part() for part in (parts if interior_first else parts[::-1]))
        assert isinstance(total, Tensor)
        total.backward()  # type: ignore[no-untyped-call]
        recorder.step()
    found = rows(recorder)
    assert found["batch"].tolist() == [22, 22]
    assert found["weight_grad_norm"].tolist() == pytest.approx(
        [float(m.weight.grad.norm()) for m in model[::2]]
    )
    # delta of the readout by hand: z of both passes as leaves of their own
    x = inside.clone().requires_grad_()
    u = model(x)
    (slope,) = torch.autograd.grad(u.sum(), x, create_graph=True)
    v = model(edge)
    gradients = torch.autograd.grad((slope + u).square().mean() + v.square().mean(), (u, v))
    squares = sum(float((len(g) * g).square().sum()) for g in gradients)
    assert float(found.loc["2", "delta_rms"]) == pytest.approx((squares / 22) ** 0.5)


def test_meta_learning_counts_every_task_and_warns_of_nothing() -> None:
    model = net()
    with warnings.catch_warnings(), Recorder(model) as recorder:
        warnings.simplefilter("error")
        for task in range(3):
            weights = dict(model.named_parameters())
            inner = F.cross_entropy(torch.func.functional_call(model, weights, (X[:1],)), Y[:1])
            steps = torch.autograd.grad(inner, list(weights.values()), create_graph=True)
            fast = {k: v - 0.1 * g for (k, v), g in zip(weights.items(), steps, strict=True)}
            F.cross_entropy(torch.func.functional_call(model, fast, (X[task:],)), Y[task:]).backward()
        recorder.step()
    assert rows(recorder)["batch"].tolist() == [3 * 1 + 6 + 5 + 4] * 2


def test_a_model_that_calls_itself_is_one_pass(plain: Recorder) -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.out = nn.Linear(8, 8).to(F64), nn.Linear(8, 4).to(F64)

        def forward(self, x: Tensor, again: int = 1) -> Tensor:
            h = torch.tanh(self.fc(x))
            return self(h, again - 1) if again else self.out(h)

    model = Twice()
    with Recorder(model) as recorder:
        loss(model).backward()
        recorder.step()
    found = rows(recorder)
    assert [*found.index] == ["fc", "fc#2", "out"] and found["batch"].tolist() == [6, 6, 6]


def test_packed_sequences_count_their_sequences() -> None:
    torch.manual_seed(0)
    lstm = nn.LSTM(8, 5).to(F64)
    packed = pack_sequence([X[:5], X[:3], X[:2]])
    with Recorder(lstm) as recorder:
        _, (h, _) = lstm(packed)
        h.square().sum(dim=-1).mean().backward()
        recorder.step()
    assert rows(recorder)["batch"].tolist() == [3]


# -- the model changes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("metrics", ["gradients", "standard"])
@pytest.mark.parametrize("change", ["head", "assign", "more"])
def test_what_the_loop_puts_into_the_model_is_recorded(change: str, metrics: str) -> None:
    model = net()
    expected = []
    with Recorder(model, schedule="all", metrics=metrics, probe=X) as recorder:
        for step in range(4):
            if step == 1:
                torch.manual_seed(5)
                if change == "head":
                    model[2] = nn.Linear(7, 4).to(F64)
                elif change == "assign":
                    model.load_state_dict(
                        {k: v.clone() + 0.1 for k, v in model.state_dict().items()}, assign=True
                    )
                else:
                    model.append(nn.Linear(4, 4).to(F64))
            model.zero_grad()
            loss(model).backward()
            expected.append([float(part.weight.grad.norm()) for part in model if isinstance(part, nn.Linear)])
            recorder.step()
    for step, norms in enumerate(expected):
        found = rows(recorder, step)
        assert found["weight_grad_norm"].tolist() == pytest.approx(norms)
        if metrics == "standard":
            assert found["z_std"].notna().all()
            if step != 1:  # where the hooks were on what was there before
                assert found["delta_rms"].notna().all()


def test_a_step_without_gradients_warns() -> None:
    for metrics in ("standard", "gradients"):
        model = net()
        with Recorder(model, schedule="all", metrics=metrics) as recorder:
            value = loss(model)
            with pytest.warns(UserWarning, match="no parameter has a gradient; recorder.step stands after"):
                recorder.step()
            value.backward()


@pytest.mark.parametrize("shape", ["transposed", "permuted", "flat"])
def test_the_units_are_found_on_the_axis_that_a_view_has_them_on(shape: str) -> None:
    """2 of 5 units never fire."""
    torch.manual_seed(0)
    shift = torch.tensor([0.0, -99.0, 0.0, 0.0, -99.0], dtype=F64)

    class Views(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.z = nn.Linear(8, 5).to(F64) if shape == "transposed" else nn.Conv2d(1, 5, 3).to(F64)
            self.out = nn.LazyLinear(4).to(F64)
            self.z.bias.data += shift

        def forward(self, x: Tensor) -> Tensor:
            if shape == "transposed":
                h = torch.relu(self.z(x[:, None].expand(-1, 3, -1)).transpose(1, 2))
            elif shape == "permuted":
                h = torch.relu(self.z(x.view(-1, 1, 2, 4).repeat(1, 1, 3, 1)).permute(0, 2, 3, 1))
            else:
                h = torch.relu(self.z(x.view(-1, 1, 2, 4).repeat(1, 1, 3, 1)).flatten(2))
            return self.out(h.flatten(1))

    model = Views()
    model(X)
    with Recorder(model, probe=X) as recorder:
        loss(model).backward()
        recorder.step()
    found = rows(recorder).loc["z"]
    assert found["dead_fraction"] == found["batch_dead_fraction"] == pytest.approx(0.4)
    assert found["low_activity_fraction"] == pytest.approx(0.4)


def test_clip_is_clamp() -> None:
    class Clipped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(8, 7).to(F64), nn.Linear(7, 4).to(F64)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(x).clip(min=0))

    model = Clipped()
    with Recorder(model, probe=X) as recorder:
        loss(model).backward()
        recorder.step()
    assert rows(recorder).loc["a", "zero_fraction"] == pytest.approx(float((model.a(X) <= 0).double().mean()))


# -- updates -------------------------------------------------------------------------------------------------


def test_an_update_by_two_optimisers_is_complete_with_the_last() -> None:
    torch.manual_seed(0)
    model = nn.GRU(8, 4).to(F64)
    one = torch.optim.SGD([model.weight_ih_l0], lr=0.1)
    two = torch.optim.Adam([model.weight_hh_l0], lr=0.1)
    before = torch.cat([model.weight_ih_l0.flatten(), model.weight_hh_l0.flatten()]).detach().clone()
    with Recorder(model) as recorder:
        model(X)[0].square().mean().backward()
        recorder.step(optimizer=iter([one, two]))
        one.step()
        two.step()
    after = torch.cat([model.weight_ih_l0.flatten(), model.weight_hh_l0.flatten()]).detach()
    expected = float((after - before).norm() / before.norm())
    assert float(rows(recorder)["update_ratio"].iloc[0]) == pytest.approx(expected)


def test_an_optimiser_around_an_optimiser_is_the_outer_one() -> None:
    class Lookahead(torch.optim.Optimizer):
        def __init__(self, optimizer: torch.optim.Optimizer) -> None:
            self.optimizer = optimizer
            super().__init__([p for group in optimizer.param_groups for p in group["params"]], {})

        def step(self, closure=None):  # type: ignore[no-untyped-def, override]
            old = [p.detach().clone() for group in self.param_groups for p in group["params"]]
            self.optimizer.step()
            with torch.no_grad():
                for p, q in zip(
                    [p for group in self.param_groups for p in group["params"]], old, strict=True
                ):
                    p.lerp_(q, 0.5)

    model = net()
    before = model[0].weight.detach().clone()
    optimizer = Lookahead(torch.optim.SGD(model.parameters(), lr=0.1))
    with Recorder(model) as recorder:
        loss(model).backward()
        recorder.step(optimizer=optimizer)
        optimizer.step()
    expected = float((model[0].weight - before).norm() / before.norm())
    assert rows(recorder).loc["0", "update_ratio"] == pytest.approx(expected)


def test_the_update_of_bfloat16_weights_is_not_rounded_again() -> None:
    model = net().to(torch.bfloat16)
    optimizer = torch.optim.SGD(model.parameters(), lr=3.0)
    before = model[0].weight.detach().double()
    with Recorder(model, metrics="full") as recorder:
        F.cross_entropy(model(X.bfloat16()).float(), Y).backward()
        recorder.step(optimizer=optimizer)
        optimizer.step()
    moved = model[0].weight.detach().double() - before
    found = rows(recorder).loc["0"]
    assert found["update_ratio"] == pytest.approx(float(moved.norm() / before.norm()), rel=1e-6)
    assert found["update_mean_abs"] == pytest.approx(float(moved.abs().mean()), rel=1e-6)


# -- what is around it ---------------------------------------------------------------------------------------


def test_an_evaluation_takes_torchs_fast_path() -> None:
    """nn.TransformerEncoderLayer leaves it where a module has hooks."""
    torch.manual_seed(0)

    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x)

    model = Classifier().eval()
    x = torch.randn(3, 5, 8)
    with torch.no_grad():
        plain = model(x)
    with Recorder(model) as recorder, torch.no_grad():
        with torch.profiler.profile() as profile:
            assert torch.equal(model(x), plain)
        assert any("_transformer_encoder_layer_fwd" in event.key for event in profile.key_averages())
        with torch.enable_grad():
            model.train()(x).square().mean().backward()
        recorder.step()
    assert rows(recorder)["delta_rms"].notna().any()


def test_hooks_go_from_a_copy_when_it_is_called() -> None:
    model = net()
    with Recorder(model):
        twin, pickled = copy.deepcopy(model), pickle.loads(pickle.dumps(model))
    for copied in (twin, pickled):
        assert torch.equal(copied(X), model(X))
        hooks = [
            hook
            for m in copied.modules()
            for table in (m._forward_hooks, m._forward_pre_hooks)
            for hook in table
        ]
        assert hooks == [*copied._forward_hooks_always_called], "torch walks through its table after an error"


def test_a_model_that_differentiates_itself() -> None:
    class Force(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(8, 7).to(F64), nn.Linear(7, 4).to(F64)

        def forward(self, x: Tensor) -> Tensor:
            with torch.enable_grad():
                x = x.detach().requires_grad_()
                energy = self.b(torch.tanh(self.a(x)))
                (force,) = torch.autograd.grad(energy.sum(), x, create_graph=True)
            return energy + force.sum(dim=1, keepdim=True)

    model = Force()
    with Recorder(model, probe=X) as recorder:
        loss(model).backward()
        recorder.step()
    assert rows(recorder)[["delta_rms", "z_std"]].notna().all().all()


def test_an_error_on_the_probe_says_so() -> None:
    model = net()
    with Recorder(model, probe=X[:, :3]) as recorder:
        loss(model).backward()
        with pytest.raises(RuntimeError) as caught:
            recorder.step()
    assert any("on its probe" in note for note in caught.value.__notes__)


def test_wrong_arguments_are_named() -> None:
    for arguments, place in [
        ({"layers": []}, "layers"),
        ({"layers": 3}, "layers"),
        ({"schedule": None}, "schedule"),
        ({"metrics": None}, "metrics"),
        ({"steps": "3"}, "steps"),
        ({"loss_reduction": None}, "loss_reduction"),
        ({"accumulation": 0}, "accumulation"),
        ({"batch_dim": -1}, "batch_dim"),
    ]:
        with pytest.raises(ConfigError) as caught:
            Recorder(net(), **arguments)  # type: ignore[arg-type]
        assert [problem.where for problem in caught.value.problems] == [place]
    with pytest.raises(ConfigError, match="no module with parameters besides its activations"):
        Recorder(nn.PReLU())


def test_the_models_own_parameters_are_chosen_by_the_name_of_their_row() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale, self.fc = nn.Parameter(torch.ones(4, dtype=F64)), nn.Linear(8, 4).to(F64)

        def forward(self, x: Tensor) -> Tensor:
            return self.scale * self.fc(x)

    model = Scaled()
    with Recorder(model, layers=["(model)"]) as recorder:
        loss(model).backward()
        recorder.step()
    assert [*rows(recorder).index] == ["(model)"]


def test_a_scaler_that_has_stepped_is_too_late() -> None:
    model = net().float()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu")
    with Recorder(model) as recorder:
        scaler.scale(loss(model, X.float())).backward()
        scaler.step(optimizer)
        with pytest.raises(ConfigError, match="has made its step already"):
            recorder.step(optimizer=optimizer, scaler=scaler)


def test_a_net_of_nan_is_not_free_of_dead_units() -> None:
    torch.manual_seed(0)
    for phi in (nn.ReLU(), nn.Hardtanh(), nn.Tanh(), nn.GELU()):
        model = nn.Sequential(nn.Linear(8, 7), phi, nn.Linear(7, 4)).to(F64)
        model[0].bias.data[:3] = -99
        with Recorder(model, probe=X, schedule="all") as recorder:
            for step in range(2):
                if step:
                    model[0].weight.data.fill_(torch.nan)
                model.zero_grad()
                loss(model).backward()
                recorder.step()
        alive, lost = rows(recorder, 0).loc["0"], rows(recorder, 1).loc["0"]
        assert alive["dead_fraction"] == pytest.approx(
            3 / 7 if isinstance(phi, nn.ReLU | nn.Hardtanh) else 0, abs=0.01
        )
        assert lost[["z_std", "slope_sq", "saturated_fraction"]].isna().all()
        assert lost[["dead_fraction", "low_activity_fraction", "deaths", "revivals"]].isna().all()
        assert lost[["batch_dead_fraction", "zero_fraction"]].isna().all()


def test_an_evaluation_between_leaves_the_models_own_row_where_it_was(plain: Recorder) -> None:
    """The root is a module with a row of its own; its hooks run in their order again."""
    torch.manual_seed(0)
    lstm = nn.LSTM(8, 5).to(F64)

    def record(evaluate: bool) -> Recorder:
        with Recorder(lstm) as recorder:
            if evaluate:
                with torch.no_grad():
                    lstm(X[:2])
            lstm.zero_grad()
            lstm(X)[0].square().mean().backward()
            recorder.step()
        return recorder

    assert_same(record(True), record(False))
    assert rows(record(True))["batch"].tolist() == [6]


def test_a_frozen_model_has_its_deltas_and_no_warning(plain: Recorder) -> None:
    model = net().requires_grad_(False)
    prompt = X.clone().requires_grad_()
    with warnings.catch_warnings(), Recorder(model) as recorder:
        warnings.simplefilter("error")
        loss(model, prompt).backward()
        recorder.step()
    assert rows(recorder)["delta_rms"].tolist() == pytest.approx(rows(plain)["delta_rms"].tolist(), rel=1e-12)
    assert rows(recorder)["weight_grad_norm"].isna().all()


@pytest.mark.parametrize("cut_short", [False, True])
def test_evaluations_in_threads_leave_the_rows_as_they_are(cut_short: bool, plain: Recorder) -> None:
    model = net()

    def evaluate() -> None:
        with torch.no_grad():
            model(X)

    class Interrupted(KeyboardInterrupt):
        pass

    def stop(*_: object) -> None:
        raise Interrupted

    with Recorder(model) as recorder:
        threads = [threading.Thread(target=evaluate) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if cut_short:
            handle = model[2].register_forward_pre_hook(stop)
            with pytest.raises(Interrupted):
                evaluate()
            handle.remove()
        loss(model).backward()
        recorder.step()
    assert_same(recorder, plain)


def test_a_backward_pass_that_failed_counts_for_nothing(plain: Recorder) -> None:
    """As in a loop that tries again after running out of memory."""
    model = net()

    def out_of_memory(_: Tensor) -> None:
        raise MemoryError

    with Recorder(model) as recorder:
        z = model[0](X)
        z.register_hook(out_of_memory)
        with pytest.raises(MemoryError):
            F.cross_entropy(model[1:](z), Y).backward()
        model.zero_grad()
        loss(model).backward()
        recorder.step()
    assert rows(recorder)["batch"].tolist()[-1] == 6


def test_frozen_layers_that_are_chosen_are_no_reason_to_warn() -> None:
    model = net()
    model[0].requires_grad_(False)
    with warnings.catch_warnings(), Recorder(model, layers={"0"}) as recorder:
        warnings.simplefilter("error")
        loss(model).backward()
        recorder.step()
    assert [*rows(recorder).index] == ["0"]


def test_numpys_numbers_are_numbers() -> None:
    Recorder(net(), steps=np.int64(10), loss_reduction=np.float32(10), accumulation=np.int32(2))  # type: ignore[arg-type]


def trained(recorder: Recorder, model: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
    with recorder:
        for step in steps:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(X + step), Y)
            loss.backward()
            recorder.step(optimizer, loss=loss)
            optimizer.step()


@pytest.mark.parametrize(("schedule", "due"), [("log", [5, 6, 8, 10, 11]), ("every:3", [6, 9, 11])])
def test_a_loop_that_goes_on_records_what_the_whole_one_would(schedule: str, due: list[int]) -> None:
    frames = []
    for first in (0, 5):
        model = net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        whole = Recorder(model, schedule=schedule, steps=12)
        trained(whole, model, optimizer, range(12 - 7 * (first > 0)))
        recorder = whole
        if first:
            recorder = Recorder(model, schedule=schedule, steps=12, first_step=first)
            assert recorder.next_step == 5
            trained(recorder, model, optimizer, range(5, 12))
            assert recorder.next_step == 12
        found = recorder.to_frame()
        frames.append(found[found["step"] >= 5].reset_index(drop=True))
    assert frames[1]["step"].unique().tolist() == due
    columns = ["step", "layer", "name", "delta_rms", "weight_grad_norm", "update_ratio"]
    assert frames[0][columns].equals(frames[1][columns])
    for wrong in (-1, 1.5, None):
        with pytest.raises(ConfigError, match="first_step"):
            Recorder(net(), first_step=wrong)  # type: ignore[arg-type]


def test_a_skipped_step_counts_and_a_due_record_is_taken_at_the_next() -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Recorder(model, schedule="every:4") as recorder:
        for step in range(7):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(X), Y)
            if step != 5:
                recorder.add(val_loss=float(step))
            if step in (2, 3, 4):
                recorder.skip()
                continue
            loss.backward()
            recorder.step(optimizer, loss=loss)
            optimizer.step()
        recorder.skip(2)
        assert recorder.next_step == 9
    steps = recorder.steps_table().frame()
    assert steps["step"].tolist() == [0, 5]  # 4 was due
    assert steps["val_loss"].iloc[0] == 0 and np.isnan(
        steps["val_loss"].iloc[1]
    )  # that of 4 is of other weights
    assert recorder.to_frame()["update_ratio"].notna().all()
