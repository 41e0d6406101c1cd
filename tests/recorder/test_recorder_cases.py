"""What users do to their models and loops, and what the recorder must make of it."""

import copy
import dataclasses
import io
import threading
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from recorder_zoo import Checkpointed, DynamicNet, SharedActivation
from torch import Tensor, nn

from gradlab.base.errors import ConfigError, GradlabError
from gradlab.nn.workspace import OneModel, Workspace
from gradlab.recorder.recorder import Recorder

X = torch.randn(12, 8, generator=torch.Generator().manual_seed(7))
Y = torch.arange(12) % 4


def net(inplace: bool = False, dtype: torch.dtype = torch.float32) -> nn.Sequential:
    torch.manual_seed(2)
    return nn.Sequential(
        nn.Linear(8, 16), nn.ReLU(inplace), nn.Linear(16, 16), nn.ReLU(inplace), nn.Linear(16, 4)
    ).to(dtype)


def backward(model: nn.Module, x: Tensor = X, y: Tensor = Y) -> None:
    F.cross_entropy(model(x), y).backward()


def rows_of(recorder: Recorder, step: int = 0) -> pd.DataFrame:
    rows = recorder.to_frame()
    return rows[rows["step"] == step].set_index("name")


def once(model: nn.Module, **kwargs: object) -> pd.DataFrame:
    with Recorder(model, **kwargs) as recorder:  # type: ignore[arg-type]
        backward(model)
        recorder.step()
    return rows_of(recorder)


THEORY = ("delta_rms_predicted", "delta_rms_band")
"""Read off the graph of the first whole forward pass of the model, if there is one."""


def same(a: pd.DataFrame, b: pd.DataFrame, rtol: float = 1e-6, without: tuple[str, ...] = ()) -> None:
    columns = [c for c in a if c not in without]
    pd.testing.assert_frame_equal(a[columns], b[columns], rtol=rtol, check_dtype=False)


def test_an_activation_in_place_hides_nothing() -> None:
    same(once(net(inplace=True), probe=X), once(net(inplace=False), probe=X), rtol=1e-12)


def test_a_module_in_a_loop_has_a_row_for_each_call_and_its_parameters_in_the_first() -> None:
    torch.manual_seed(0)
    model = DynamicNet()
    rows = once(model)
    assert [*rows.index] == ["input", "middle", "middle#2", "middle#3", "output"]
    h, made = model.input(X).clamp(min=0), []
    for _ in range(3):
        made.append(model.middle(h))
        made[-1].retain_grad()
        h = made[-1].clamp(min=0)
    model.zero_grad()
    F.cross_entropy(model.output(h), Y).backward()
    for name, z in zip(["middle", "middle#2", "middle#3"], made, strict=True):
        assert rows.loc[name, "delta_rms"] == pytest.approx(
            float((12 * z.grad).double().square().mean().sqrt())
        )
    assert rows.loc["middle", "weight_grad_norm"] == pytest.approx(float(model.middle.weight.grad.norm()))
    assert np.isnan(rows.loc["middle#2", "weight_grad_norm"])


def test_tied_weights_show_their_common_gradient_in_every_row_that_has_them() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Embedding(9, 6), nn.Linear(6, 9, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, tokens: Tensor) -> Tensor:
            return self.head(self.embed(tokens))

    model, tokens = Tied(), torch.arange(12) % 9
    with Recorder(model) as recorder:
        F.cross_entropy(model(tokens), tokens).backward()
        recorder.step()
    rows = rows_of(recorder)
    norm = float(model.embed.weight.grad.norm())
    assert rows["weight_grad_norm"].to_numpy() == pytest.approx([norm, norm], rel=1e-6)


def test_frozen_and_unused_parameters_have_no_gradient_columns() -> None:
    model = net()
    model.extra = nn.Linear(3, 3)
    model.forward = lambda x: model[4](model[3](model[2](model[1](model[0](x)))))  # type: ignore[method-assign]
    for parameter in model[0].parameters():
        parameter.requires_grad = False
    rows = once(model)
    for name in ("0", "extra"):
        assert np.isnan(rows.loc[name, "weight_grad_norm"]) and np.isnan(rows.loc[name, "bias_grad_norm"])
        assert np.isnan(rows.loc[name, "delta_rms"]) and rows.loc[name, "weight_norm"] > 0
    assert np.isnan(rows.loc["extra", "nonfinite"]) and rows.loc["0", "zero_fraction"] > 0
    assert rows.index[-1] == "extra"


@dataclasses.dataclass
class Output:
    name: str
    hidden: Tensor


@pytest.mark.parametrize("kind", ["tuple", "dict", "dataclass", "nested"])
def test_modules_that_return_more_than_a_tensor(kind: str) -> None:
    class Part(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.eye(8, 4))

        def forward(self, x: Tensor) -> object:
            z = x @ self.weight
            return {
                "tuple": (z, None),
                "dict": {"n": 3, "z": z},
                "dataclass": Output("a", z),
                "nested": ([(z,)],),
            }[kind]

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = Part()

        def forward(self, x: Tensor) -> Tensor:
            out = self.part(x)
            return {"tuple": lambda: out[0], "dict": lambda: out["z"], "dataclass": lambda: out.hidden,
                    "nested": lambda: out[0][0][0]}[kind]()  # fmt: skip

    rows = once(Whole())
    z = (X @ torch.eye(8, 4)).requires_grad_()
    F.cross_entropy(z, Y).backward()
    assert rows.loc["part", "delta_rms"] == pytest.approx(
        float((12 * z.grad).double().square().mean().sqrt())
    )


def test_evaluations_between_steps_are_left_alone() -> None:
    expected = once(net())
    model = net()
    with Recorder(model) as recorder:
        with torch.no_grad():
            model(torch.full((40, 8), torch.nan))
        model(torch.full((40, 8), torch.nan))  # with gradients, but no backward pass
        backward(model)
        with torch.inference_mode():
            model(torch.full((40, 8), torch.nan))
        recorder.step()
    same(rows_of(recorder), expected, rtol=0)


def test_accumulated_gradients_are_those_of_the_whole_batch() -> None:
    model = net(dtype=torch.float64)
    x = X.double()
    with Recorder(model) as whole:
        backward(model, x)
        whole.step()
    model.zero_grad()
    for how in ({"loss_reduction": 12}, {"accumulation": 3}):
        model.zero_grad()
        with Recorder(model, **how) as parts:  # type: ignore[arg-type]
            for part in (slice(0, 4), slice(4, 8), slice(8, 12)):
                (F.cross_entropy(model(x[part]), Y[part]) / 3).backward()
            parts.step()
        same(rows_of(parts), rows_of(whole), rtol=1e-9, without=THEORY)
        assert (rows_of(parts)["batch"] == 12).all()


def test_a_summed_loss() -> None:
    expected = once(net())
    model = net()
    with Recorder(model, loss_reduction="sum") as recorder:
        F.cross_entropy(model(X), Y, reduction="sum").backward()
        recorder.step()
    assert rows_of(recorder)["delta_rms"].to_numpy() == pytest.approx(
        expected["delta_rms"].to_numpy(), rel=1e-6
    )


@pytest.mark.parametrize("unscale", [False, True])
def test_a_scaled_loss_gives_the_true_gradients(unscale: bool) -> None:
    expected = once(net())
    model = net()
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Recorder(model) as recorder:
        scaler.scale(F.cross_entropy(model(X), Y)).backward()
        if unscale:
            scaler.unscale_(optimizer)
        recorder.step(optimizer=optimizer, scaler=scaler)
        scaler.step(optimizer)
        scaler.update()
    rows = rows_of(recorder)
    same(rows, expected, without=("update_ratio",))
    sizes = [float(part.weight.norm()) for part in net() if isinstance(part, nn.Linear)]
    assert rows["update_ratio"].tolist() == pytest.approx(0.1 * rows["weight_grad_norm"] / sizes, rel=1e-4)


def test_several_optimisers_and_a_step_with_a_closure() -> None:
    model = net()
    one = torch.optim.SGD([*model[0].parameters()], lr=0.1)
    other = torch.optim.SGD([*model[2].parameters()], lr=0.2)
    with Recorder(model) as recorder:

        def closure() -> Tensor:
            loss = F.cross_entropy(model(X), Y)
            loss.backward()
            recorder.step(optimizer=[one, other])
            return loss

        before = [model[i].weight.detach().clone() for i in (0, 2)]
        one.step(closure)  # the gradients come from inside the step
        other.step()
    rows = rows_of(recorder)
    for i, old in zip((0, 2), before, strict=True):
        expected = float((model[i].weight - old).norm() / old.norm())
        assert rows.loc[str(i), "update_ratio"] == pytest.approx(expected, rel=1e-5)
    assert np.isnan(rows.loc["4", "update_ratio"])


@pytest.mark.parametrize("fused", [False, True])
def test_a_step_that_the_scaler_skips_has_no_update(fused: bool) -> None:
    model = net()
    linears = [part for part in model if isinstance(part, nn.Linear)]
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1, fused=fused)
    with Recorder(model, schedule="all") as recorder:
        for loss_factor in (float("inf"), 1.0):
            before = [part.weight.detach().clone() for part in linears]
            optimizer.zero_grad()
            scaler.scale(F.cross_entropy(model(X), Y) * loss_factor).backward()
            recorder.step(optimizer=optimizer, scaler=scaler)
            scaler.step(optimizer)
            scaler.update()
    assert rows_of(recorder, 0)["update_ratio"].isna().all() and (rows_of(recorder, 0)["nonfinite"] > 0).any()
    moved = [
        float((now.weight - then).norm() / then.norm()) for now, then in zip(linears, before, strict=True)
    ]
    assert rows_of(recorder, 1)["update_ratio"].tolist() == pytest.approx(moved, rel=1e-4)


def test_a_scaler_without_its_optimiser_is_refused() -> None:
    model, scaler = net(), torch.amp.GradScaler("cpu")
    with Recorder(model) as recorder:
        scaler.scale(F.cross_entropy(model(X), Y)).backward()
        with pytest.raises(ConfigError, match="needs the optimizer"):
            recorder.step(scaler=scaler)


def test_gradients_are_recorded_as_they_are_before_or_after_clipping() -> None:
    def run(clip_first: bool) -> pd.DataFrame:
        model = net()
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        with Recorder(model) as recorder:
            backward(model)
            if clip_first:
                nn.utils.clip_grad_norm_(model.parameters(), 1e-3)
            recorder.step(optimizer=optimizer)
            if not clip_first:
                nn.utils.clip_grad_norm_(model.parameters(), 1e-3)
            optimizer.step()
        return rows_of(recorder)

    before, after = run(False), run(True)
    norms = ["weight_grad_norm", "bias_grad_norm"]
    assert np.sqrt(after[norms].pow(2).to_numpy().sum()) == pytest.approx(1e-3, rel=1e-3)
    assert np.sqrt(before[norms].pow(2).to_numpy().sum()) > 0.1
    assert before["update_ratio"].to_numpy() == pytest.approx(
        after["update_ratio"].to_numpy()
    )  # it was clipped anyway


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_checkpointed_segment_counts_once(reentrant: bool) -> None:
    torch.manual_seed(0)
    model = Checkpointed(reentrant)
    rows = once(model, probe=X)
    h, made = torch.relu(model.first(X)), {}
    for i, block in enumerate(model.blocks):
        made[f"blocks.{i}.0"] = z = block[0](h)
        z.retain_grad()
        h = z.tanh()
    model.zero_grad()
    F.cross_entropy(model.head(h), Y).backward()
    assert [*rows.index] == ["first", *made, "head"]
    for name, z in made.items():
        assert rows.loc[name, "delta_rms"] == pytest.approx(
            float((12 * z.grad).double().square().mean().sqrt())
        )
        assert rows.loc[name, "slope_sq"] == pytest.approx(
            float((1 - z.tanh() ** 2).double().square().mean())
        )
    assert (rows["batch"] == 12).all()


def test_a_step_in_which_nothing_was_seen_is_an_error_not_silence() -> None:
    model = net()
    step = torch.compile(lambda x: model(x), backend="eager", fullgraph=True)
    with Recorder(model) as recorder, pytest.raises(GradlabError, match="no module of the model was seen"):
        F.cross_entropy(step(X), Y).backward()
        recorder.step()
    with Recorder(model) as recorder, pytest.raises(GradlabError, match="no module of the model was seen"):
        recorder.step()


def test_functional_call_and_functional_transforms() -> None:
    model = net()
    expected = once(net())["delta_rms"]
    copies = {name: p.detach().clone().requires_grad_() for name, p in model.named_parameters()}
    with Recorder(model) as recorder:
        F.cross_entropy(torch.func.functional_call(model, copies, (X,)), Y).backward()
        recorder.step()
    rows = rows_of(recorder)
    assert rows["delta_rms"].tolist() == pytest.approx(expected.tolist())
    assert rows["weight_grad_norm"].isna().all()  # the gradients are those of other tensors

    def loss(parameters: dict[str, Tensor]) -> Tensor:
        return F.cross_entropy(torch.func.functional_call(model, parameters, (X,)), Y)

    plain = torch.func.grad(loss)({k: v.detach() for k, v in copies.items()})
    with Recorder(model) as recorder, pytest.raises(GradlabError, match="no module of the model was seen"):
        inside = torch.func.grad(loss)({k: v.detach() for k, v in copies.items()})
        assert all(torch.equal(plain[k], inside[k]) for k in plain)
        recorder.step()


def test_replicas_of_data_parallelism_share_one_row() -> None:
    """As nn.DataParallel does it: a copy and a thread a device, each with its part of the batch."""
    expected = once(net())
    model = net()

    def replica(module: nn.Module) -> nn.Module:
        made = module._replicate_for_data_parallel()
        for name, parameter in module._parameters.items():
            setattr(made, name, parameter) if parameter is None else made._parameters.__setitem__(
                name, parameter
            )
        for name, child in module._modules.items():
            made._modules[name] = replica(child)  # type: ignore[arg-type]
        return made

    outputs: dict[int, Tensor] = {}

    def run(index: int) -> None:
        outputs[index] = replica(model)(X[index * 6 : index * 6 + 6])

    with Recorder(nn.DataParallel(model)) as recorder:
        threads = [threading.Thread(target=run, args=(i,)) for i in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        F.cross_entropy(torch.cat([outputs[0], outputs[1]]), Y).backward()
        recorder.step()
    rows = rows_of(recorder)
    gains = [name for name in rows if name.endswith("_gain")]
    same(rows.drop(columns=[*gains, "path"]), expected.drop(columns=[*gains, "path"]), without=THEORY)
    assert rows[gains].isna().all(axis=None), "nodes of several threads have the same numbers"
    assert (rows["path"] == "").all()


def test_a_gradient_penalty_leaves_the_training_losses_delta() -> None:
    model = net()
    x = X.clone().requires_grad_()
    with Recorder(model) as recorder:
        z = model(x)
        loss = F.cross_entropy(z, Y)
        (slope,) = torch.autograd.grad(z.square().sum(), x, create_graph=True)
        (loss + slope.square().mean()).backward()
        recorder.step()
    made = {}
    h = x.detach().clone().requires_grad_()
    first = h
    for name, module in model.named_children():
        h = module(h)
        if isinstance(module, nn.Linear):
            made[name] = h
            h.retain_grad()
    model.zero_grad()
    (slope,) = torch.autograd.grad(h.square().sum(), first, create_graph=True)
    for z in made.values():
        z.grad = None
    (F.cross_entropy(h, Y) + slope.square().mean()).backward()
    for name, z in made.items():
        assert rows_of(recorder).loc[name, "delta_rms"] == pytest.approx(
            float((12 * z.grad).double().square().mean().sqrt()), rel=1e-5
        )


def test_two_backward_passes_through_one_forward_pass_leave_delta_empty() -> None:
    model = net()
    with Recorder(model) as recorder:
        loss = F.cross_entropy(model(X), Y)
        loss.backward(retain_graph=True)
        loss.backward()
        with pytest.warns(UserWarning, match="do not add up"):
            recorder.step()
    rows = rows_of(recorder)
    assert rows["delta_rms"].isna().all()
    assert rows["weight_grad_norm"].tolist() == pytest.approx((2 * once(net())["weight_grad_norm"]).tolist())


def test_a_module_that_raises_leaves_no_hook_and_no_mode() -> None:
    class Broken(nn.Module):
        def __init__(self, error: type[BaseException]) -> None:
            super().__init__()
            self.fc, self.error = nn.Linear(8, 4), error

        def forward(self, x: Tensor) -> Tensor:
            self.fc(x)
            raise self.error("in the middle")

    for error in (RuntimeError, KeyboardInterrupt):
        model = Broken(error)
        with pytest.raises(error, match="in the middle"), Recorder(model, probe=X):
            model(X)
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
        assert torch.overrides._get_current_function_mode() is None
    model = net()
    with pytest.raises(RuntimeError, match="shapes"), Recorder(model, probe=X[:, :3]) as recorder:
        backward(model)
        recorder.step()  # the probe does not fit
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules()) and model.training


def test_a_batch_that_fails_is_no_part_of_the_record() -> None:
    model = net()
    with Recorder(model) as recorder:
        with pytest.raises(RuntimeError):
            model(X[:, :3])
        backward(model)
        recorder.step()
    same(rows_of(recorder), once(net()), rtol=0)


def test_copies_and_pickles_of_a_watched_model_are_free_of_the_recorder() -> None:
    model = net()
    with Recorder(model, schedule="all") as recorder:
        twin = copy.deepcopy(model)
        file = io.BytesIO()
        torch.save(model, file)
        file.seek(0)
        loaded = torch.load(file, weights_only=False)
        for other in (twin, loaded):
            backward(other, X * 100)
        model.zero_grad()
        backward(model)
        recorder.step()
    same(rows_of(recorder), once(net()), rtol=0)
    backward(twin)
    assert len(recorder.to_frame()) == 3


def test_two_recorders_at_once_see_the_same() -> None:
    model = net()
    with Recorder(model, probe=X) as one, Recorder(model, probe=X) as other:
        backward(model)
        one.step()
        other.step()
    same(rows_of(one), rows_of(other), rtol=0)
    same(rows_of(one), once(net(), probe=X), rtol=0)


def test_the_users_own_hooks_stay_and_run() -> None:
    model, calls = net(), []
    handles = [
        model[0].register_forward_hook(lambda *_: calls.append("forward")),
        model[0].register_full_backward_hook(lambda *_: calls.append("backward")),
        model.register_forward_pre_hook(lambda *_: calls.append("pre")),
    ]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer.register_step_post_hook(lambda *_: calls.append("step"))
    with Recorder(model) as recorder:
        backward(model)
        recorder.step(optimizer=optimizer)
        optimizer.step()
    assert calls == ["pre", "forward", "backward", "step"]
    assert len(model[0]._forward_hooks) == 1 and len(model._forward_pre_hooks) == 1
    assert len(optimizer._optimizer_step_post_hooks) == 1
    for handle in handles:
        handle.remove()
    assert rows_of(recorder)["delta_rms"].tolist() == pytest.approx(once(net())["delta_rms"].tolist())


def test_bfloat16_is_measured_in_float64() -> None:
    model = net(dtype=torch.bfloat16)
    with Recorder(model) as recorder:
        z = model(X.bfloat16())
        z.retain_grad()
        F.cross_entropy(z, Y).backward()
        recorder.step()
    expected = float((12 * z.grad.double()).square().mean().sqrt())
    assert rows_of(recorder).loc["4", "delta_rms"] == pytest.approx(expected, rel=1e-12)


def test_tiny_gradients_do_not_underflow() -> None:
    model = net()
    with Recorder(model) as recorder:
        (F.cross_entropy(model(X), Y) * 1e-30).backward()
        recorder.step()
    expected = 1e-30 * once(net())["weight_grad_norm"]
    assert rows_of(recorder)["weight_grad_norm"].tolist() == pytest.approx(expected.tolist(), rel=1e-5)


def test_sparse_gradients_are_those_of_the_dense_matrix() -> None:
    tokens = torch.tensor([1, 1, 3, 7])

    def run(sparse: bool) -> pd.DataFrame:
        torch.manual_seed(0)
        model = nn.Embedding(9, 4, sparse=sparse)
        with Recorder(model, metrics="full") as recorder:
            model(tokens).square().mean().backward()
            recorder.step()
        return rows_of(recorder)

    same(run(True), run(False), rtol=1e-6)
    assert run(True)["grad_zero_fraction"].tolist() == [pytest.approx(6 / 9)]


def test_complex_parameters_are_measured_by_their_size() -> None:
    torch.manual_seed(0)
    model = nn.Linear(8, 4, dtype=torch.complex128)
    with Recorder(model) as recorder:
        z = model(X.to(torch.complex128))
        z.retain_grad()
        z.abs().square().mean().backward()
        recorder.step()
    row = rows_of(recorder).loc["(model)"]
    assert row["weight_grad_norm"] == pytest.approx(float(model.weight.grad.abs().square().sum().sqrt()))
    assert row["delta_rms"] == pytest.approx(12 * float(z.grad.abs().square().mean().sqrt()))
    assert row["fan_in"] == 8


def test_what_cannot_be_recorded_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="meta device"):
        Recorder(nn.Linear(3, 3, device="meta"))
    with pytest.raises(ConfigError, match="no shape yet"):
        Recorder(nn.LazyLinear(3))
    with pytest.raises(ConfigError, match="no parameters"):
        Recorder(nn.ReLU())
    with pytest.raises(ConfigError, match=r"no torch\.nn\.Module"):
        Recorder(lambda x: x)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="did you mean 'gradients'"):
        Recorder(net(), metrics="gradient")
    with pytest.raises(ConfigError, match="'fc' names no module"):
        Recorder(net(), layers=["fc", "0"])
    with pytest.raises(ConfigError, match="unknown record schedule"):
        Recorder(net(), schedule="sometimes")
    with pytest.raises(ConfigError, match="loss_reduction"):
        Recorder(net(), loss_reduction="none")
    with pytest.raises(GradlabError, match="outside of its"):
        Recorder(net()).step()
    with Recorder(net()) as recorder:
        backward(recorder.model)
        with pytest.raises(ConfigError, match=r"no torch.optim.Optimizer"):
            recorder.step(optimizer="sgd")  # type: ignore[arg-type]


def test_layers_schedule_and_last_step() -> None:
    model = net()
    with Recorder(model, schedule="every:4", steps=7, layers=["0", "4*"]) as recorder:
        for _ in range(7):
            backward(model)
            attached = any(m._forward_hooks for m in model.modules())
            assert attached == recorder.recording
            recorder.step()
    rows = recorder.to_frame()
    assert rows["step"].unique().tolist() == [0, 4, 6]
    assert rows["name"].unique().tolist() == ["0", "4"]


def test_a_row_keeps_to_its_own_activation_when_others_are_left_out() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))
    chosen = once(model, probe=X, layers=["0", "3"])
    model.zero_grad()
    every = once(model, probe=X)
    gains = [name for name in chosen if name.endswith("_gain")]
    same(
        chosen.drop(columns=["layer", *gains]), every.loc[["0", "3"]].drop(columns=["layer", *gains]), rtol=0
    )
    assert chosen[gains].isna().all(axis=None), "the row that takes the output is left out"
    assert every.loc["0", "weight_gain"] > 0
    assert np.isnan(chosen.loc["0", "slope_sq"])


def test_an_activation_belongs_to_the_module_whose_output_it_is_applied_to() -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.value, self.gate, self.out = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            value, gate = self.value(x), self.gate(x)
            return self.out(torch.relu(value) * gate)

    rows = once(Gated(), probe=X)
    assert rows["slope_sq"].notna().tolist() == [True, False, False]


def test_a_frozen_norm_stays_in_its_own_mode() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4), nn.BatchNorm1d(4))
    model[1].eval()
    with Recorder(model, probe=X) as recorder:
        backward(model)
        moved = model[2].running_mean.clone()
        recorder.step()
    assert [m.training for m in model] == [True, False, True]
    assert torch.equal(model[2].running_mean, moved) and int(model[2].num_batches_tracked) == 1


def test_a_model_that_keeps_state_between_batches_keeps_it() -> None:
    class Stateful(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.fc, self.state, self.calls = (
                nn.RNN(8, 5, batch_first=True),
                nn.Linear(5, 4),
                None,
                0,
            )
            self.register_buffer("seen", torch.zeros(()))
            self.register_buffer("total", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            self.seen = self.seen + 1
            self.total += 1
            out, state = self.rnn(x[:, None], self.state if self.state is None or len(x) == 12 else None)
            self.state = state.detach()
            return self.fc(F.dropout(out[:, -1]))

    model = Stateful()
    with Recorder(model, probe=X[:5]) as recorder:
        backward(model)
        recorder.step()
    assert model.calls == 1 and int(model.seen) == int(model.total) == 1 and model.state.shape[1] == 12


def test_parts_called_one_by_one() -> None:
    """Loops that never call the whole model, such as a training_step that calls its parts."""
    torch.manual_seed(0)
    model = SharedActivation()
    expected = once(model)
    model.zero_grad()
    with Recorder(model) as recorder:
        with recorder.watching():
            h = X
            for layer in model.layers:
                h = model.act(layer(h))
            F.cross_entropy(model.head(h), Y).backward()
        recorder.step()
    same(rows_of(recorder), expected, without=THEORY)


def test_the_csv_leaves_empty_what_does_not_apply(tmp_path) -> None:  # type: ignore[no-untyped-def]
    model = net()
    with Recorder(model, probe=X) as recorder:
        backward(model)
        recorder.step()
    recorder.to_csv(tmp_path / "layers.csv")
    text = (tmp_path / "layers.csv").read_text()
    assert "nan" not in text and ",," in text
    back = pd.read_csv(tmp_path / "layers.csv", dtype={"name": str}).fillna(
        dict.fromkeys(("layer_activation", "path", "into", "joins"), "")
    )
    pd.testing.assert_frame_equal(back, recorder.to_frame(), check_dtype=False)


def test_a_deep_sigmoid_net_is_diagnosed_and_reported() -> None:
    torch.manual_seed(0)
    layers = [m for _ in range(12) for m in (nn.Linear(8, 8), nn.Sigmoid())]
    model = nn.Sequential(*layers, nn.Linear(8, 4))
    with Recorder(model, probe=X, schedule="all") as recorder:
        for _ in range(3):
            backward(model)
            recorder.step()
    assert "vanishing" in recorder.diagnose().verdicts
    report = recorder.report()
    assert "vanishing" in report and "Step 0:" in report and "delta_rms" in report
    assert recorder.overhead > 0


def test_numbers_that_wait_on_a_device_come_out_the_same(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """What stands on another device is laid together and fetched late: here by calling the CPU such a device."""
    from gradlab.recorder import ledger

    def run() -> pd.DataFrame:
        model = net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with Recorder(model, probe=X, schedule="all", metrics="full") as recorder:
            for _ in range(ledger.FLUSH_EVERY + 3):
                backward(model)
                recorder.step(optimizer=optimizer)
                optimizer.step()
        return recorder.to_frame()

    expected = run()
    monkeypatch.setattr(ledger, "_elsewhere", lambda numbers: True)
    pd.testing.assert_frame_equal(run(), expected)
    for name in ("norm", "mean", "mean_std", "share", "nonzeros"):
        reduction = getattr(Workspace, name)
        monkeypatch.setattr(
            OneModel, name, lambda self, x, reduction=reduction: reduction(self, self.rows(x))
        )
    pd.testing.assert_frame_equal(run(), expected, rtol=1e-6)


def test_a_zero_where_a_number_is_missing_and_nan_are_told_apart() -> None:
    """Zeros are counted by summing ones: NaN is no zero, and a unit with NaN is not dead."""
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.ReLU(), nn.Linear(3, 4))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 0, 0], [0, -1.0, 0], [0, 0, -1.0]]))
    x = torch.tensor([[1.0, 1.0, 1.0], [1.0, 2.0, torch.nan], [-1.0, 3.0, 1.0], [2.0, 0.0, 2.0]])
    with Recorder(model) as recorder:
        backward(model, x, torch.arange(4))
        recorder.step()
    z = x @ model[0].weight.detach().T
    row = rows_of(recorder).loc["0"]
    assert row["zero_fraction"] == float((torch.relu(z) == 0).double().mean())
    assert row["batch_dead_fraction"] == float((z <= 0).all(dim=0).double().mean())
    assert row["nonfinite"] > 0


def test_a_large_module_whose_gradients_come_and_go() -> None:
    """What is remembered of a module's block must not outlive the set of its gradients."""
    model = nn.LSTM(300, 300, batch_first=True)
    x = torch.randn(4, 5, 300)
    with Recorder(model, schedule="all") as recorder:
        for thawed in (False, True):
            model.zero_grad()
            model.weight_hh_l0.requires_grad_(thawed)
            model(x)[0].square().mean().backward()
            recorder.step()
    row = recorder.to_frame().iloc[1]
    gradients = torch.cat([model.weight_ih_l0.grad.flatten(), model.weight_hh_l0.grad.flatten()])
    assert row["weight_grad_mean_abs"] == pytest.approx(gradients.abs().double().mean().item(), rel=1e-6)
    assert row["grad_zero_fraction"] == (gradients == 0).double().mean().item()


def test_shares_of_a_probe_with_more_entries_than_float32_counts() -> None:
    model = nn.Sequential(nn.Linear(1, 5001), nn.ReLU(), nn.Linear(5001, 1))
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].bias.fill_(-1.0)
    with Recorder(model, probe=torch.randn(4099, 1), schedule="all") as recorder:
        model(torch.randn(4, 1)).square().mean().backward()
        recorder.step()
    row = recorder.to_frame().iloc[0]
    assert (row["slope_sq"], row["saturated_fraction"], row["dead_fraction"]) == (0.0, 1.0, 1.0)


class SkipsByItself(torch.optim.Optimizer):  # with one flag for all steps
    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, {})
        self.found_inf = torch.zeros(())

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.sub_(parameter.grad * 0.1 * (1 - self.found_inf))


def test_a_step_that_an_optimiser_skips_is_that_step_alone() -> None:
    model = nn.Linear(2, 2)
    optimizer = SkipsByItself(model.parameters())
    with Recorder(model, schedule="all") as recorder:
        for step in range(4):
            optimizer.zero_grad()
            model(torch.ones(1, 2)).sum().backward()
            recorder.step(optimizer)
            optimizer.found_inf.fill_(float(step == 3))
            optimizer.step()
    assert recorder.to_frame()["update_ratio"].notna().tolist() == [True, True, True, False]


def test_every_record_of_many_keeps_its_own_numbers() -> None:
    """Records are settled many at a time, where they are laid out alike; batches and calls differ here in between."""
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    expected = []
    with Recorder(model, schedule="all") as recorder:
        for step in range(150):
            batch = 5 + step % 3 if step % 10 else 1
            optimizer.zero_grad()
            h = model[1](model[0](torch.randn(batch, 3)))
            if step % 7:
                model[2](h).square().mean().backward()
            else:  # the readout is not called
                h.square().mean().backward()
            norms = [
                None if p.grad is None else p.grad.double().norm().item()
                for p in (model[0].weight, model[2].weight)
            ]
            recorder.step(optimizer)
            expected += [
                (step, batch if at == 0 or step % 7 else np.nan, norm) for at, norm in enumerate(norms)
            ]
            optimizer.step()
    found = recorder.to_frame()
    wanted = pd.DataFrame(expected, columns=["step", "batch", "weight_grad_norm"])
    assert len(found) == len(wanted) == 300
    np.testing.assert_array_equal(found["step"], wanted["step"])
    np.testing.assert_array_equal(found["batch"], wanted["batch"])
    np.testing.assert_allclose(found["weight_grad_norm"], wanted["weight_grad_norm"], rtol=1e-6)
