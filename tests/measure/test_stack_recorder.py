"""How the recorder behaves: what the probe is, what it leaves behind, what it survives."""

import gc
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from reference import stacks
from torch import nn

from gradlab import activations
from gradlab.nn.buffered import BufferedPass
from gradlab.nn.mlp import StackedMLP
from gradlab.sensors import own_columns
from gradlab.sensors.layers import LayerSensor
from gradlab.sensors.sensor import Observed
from gradlab.train import loop
from gradlab.train.loop import build_stack, train_stack


def hooks_on(mlp: nn.Module) -> int:
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(len(getattr(module, kind)) for module in mlp.modules() for kind in kinds)


def net(**flags: object) -> tuple[StackedMLP, torch.Tensor, LayerSensor]:
    stack = stacks.make_stack(**flags)
    data = stack.cell.dataset()
    mlp = build_stack(stack, data)
    probe = torch.from_numpy(data.x_train[:16])
    names = ("",) * len(mlp.linears)
    activation, targets = activations.get(stack.cell.network.activation), torch.from_numpy(data.y_train[:16])
    watched = Observed(mlp, activation, probe, names, 16, targets, stack.bound.training.loss)
    return mlp, probe, LayerSensor(watched, own_columns.get("full"))


# -- the probe -------------------------------------------------------------------------------------------------


def test_the_probe_is_the_first_training_rows_in_eval_mode() -> None:
    """A batch-normed ReLU net after six updates: dead units and signal counted by hand, running statistics and all."""
    flags = {
        "activation": "relu",
        "norm": "batch",
        "steps": 6,
        "lr": 0.4,
        "optimizer": "momentum",
        "depth": 2,
    }
    result = stacks.train(**flags)
    stack = stacks.make_stack(**flags)
    data = stack.cell.dataset()
    kept = []

    class Spy(LayerSensor):
        def begin(self, buffered: BufferedPass | None) -> None:
            super().begin(buffered)
            kept.append([p.detach().clone() for p in (*self.mlp.parameters(), *self.mlp.buffers())])
            kept[-1].append(self.mlp)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "LayerSensor", Spy)
        train_stack(stack, data)
    x = torch.from_numpy(data.x_train[:16])
    for t, state in enumerate(kept):
        mlp = state.pop()
        with torch.no_grad():
            for tensor, value in zip((*mlp.parameters(), *mlp.buffers()), state, strict=True):
                tensor.copy_(value)
            for replica in range(2):
                h = x
                for layer, hidden in enumerate(mlp.layers):
                    z = h @ hidden.linear.weight[replica] + hidden.linear.bias[replica]
                    norm = hidden.norm_before
                    u = (z - norm.running_mean[replica]) / (norm.running_var[replica] + 1e-5).sqrt()
                    u = u * norm.scale[replica] + norm.shift[replica]
                    h = u.clamp(min=0)
                    got = {
                        name: stacks.column(result, name)[t, layer, replica] for name in result.layers.columns
                    }
                    assert got["z_mean"] == pytest.approx(z.mean().item(), rel=1e-9, abs=1e-12)
                    assert got["z_std"] == pytest.approx(z.std(correction=0).item(), rel=1e-9)
                    assert got["h_rms"] == pytest.approx(h.square().mean().sqrt().item(), rel=1e-9)
                    assert got["slope_sq"] == pytest.approx((u > 0).double().mean().item(), rel=1e-12)
                    assert got["dead_fraction"] == (h == 0).all(dim=0).double().mean().item()


def test_taking_a_record_moves_no_running_statistic_and_no_mode() -> None:
    for training in (True, False):
        mlp, probe, recorder = net(activation="relu", norm="batch")
        mlp.train(training)
        before = [tensor.clone() for tensor in (*mlp.buffers(), *mlp.parameters(), probe)]
        recorder.begin(None)
        for old, new in zip(before, (*mlp.buffers(), *mlp.parameters(), probe), strict=True):
            assert torch.equal(old, new)
        assert mlp.training is training
        assert all(module.training is training for module in mlp.modules())


def test_probe_of_all_rows_and_of_more_than_there_are() -> None:
    every, more = stacks.train(probe="all"), stacks.train(probe="100000")
    np.testing.assert_array_equal(stacks.layers(every), stacks.layers(more))
    data = stacks.small_data()
    stack = stacks.make_stack(probe="all", init="gaussian")
    net_0 = stacks.replica_of(build_stack(stack, data), 0)
    z = data.x_train @ net_0.weights[0]
    result = train_stack(stack, data)
    assert stacks.column(result, "z_std")[0, 0, 0] == pytest.approx(z.std(), rel=1e-12)


def test_dead_is_a_matter_of_every_probe_row() -> None:
    """One unit active on 1 of 16 rows is not dead; one active on none is, though another batch may wake it."""
    mlp, probe, recorder = net(activation="relu", depth=1, width=3, init="constant:value=0")
    with torch.no_grad():
        first = probe[:, 0].max()
        mlp.layers[0].linear.weight[:, 0, 1] = 1.0
        mlp.layers[0].linear.bias[:, 0, 1] = -(probe[:, 0].sort().values[-2] + first) / 2  # active on one row
        mlp.layers[0].linear.bias[:, 0, 2] = 1.0  # always active; unit 0 sits at z = 0: slope 0, dead
    recorder.begin(None)
    values, _ = recorder.finish()
    row = {name: values[0, 0, place].item() for name, place in recorder.columns.items()}
    assert row["dead_fraction"] == pytest.approx(1 / 3)
    assert row["low_activity_fraction"] == pytest.approx(1 / 3), "1 of 16 rows is 6 %, not below 1 %"
    assert row["slope_sq"] == pytest.approx(17 / 48)
    assert np.isnan(row["deaths"]), "nothing to compare with yet"
    with torch.no_grad():
        mlp.layers[0].linear.bias[:, 0, 2] = -1.0
        mlp.layers[0].linear.bias[:, 0, 0] = 1.0
    recorder.begin(None)
    values, _ = recorder.finish()
    row = {name: values[0, 0, place].item() for name, place in recorder.columns.items()}
    assert (row["deaths"], row["revivals"]) == (1.0, 1.0)


def test_a_prelu_whose_slope_is_zero_can_die() -> None:
    result = stacks.train(activation="prelu:init=0", steps=0, init="gaussian:bias=-50")
    assert (stacks.column(result, "dead_fraction")[0, :-1] == 1).all()
    alive = stacks.train(activation="prelu:init=0.1", steps=0, init="gaussian:bias=-50")
    assert (stacks.column(alive, "dead_fraction")[0, :-1] == 0).all()


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "gelu", "softplus"])
def test_nothing_without_a_flat_part_dies(activation: str) -> None:
    """Even where float32 rounds its slope to 0: that is saturation."""
    result = stacks.train(activation=activation, steps=0, init="gaussian:bias=-200", dtype="float32", depth=1)
    assert stacks.column(result, "slope_sq")[0, 0, 0] < 1e-30
    assert stacks.column(result, "dead_fraction")[0, 0, 0] == 0
    assert stacks.column(result, "saturated_fraction")[0, 0, 0] == 1


# -- manners ---------------------------------------------------------------------------------------------------


def test_hooks_are_there_for_a_recorded_step_only(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[tuple[bool, int]] = []
    original = StackedMLP.forward

    def forward(self: StackedMLP, x: torch.Tensor) -> torch.Tensor:
        counts.append((torch.is_grad_enabled(), hooks_on(self)))
        return original(self, x)

    monkeypatch.setattr(StackedMLP, "forward", forward)
    stacks.train(record="every:3", steps=5, depth=2, norm="batch")
    probed = 3 + 2 + 2  # three linear maps, two activations, and before each activation
    hooked = 3 + 2 + 2  # and behind each norm
    in_training = [count for with_grad, count in counts if with_grad]
    assert in_training == [hooked, 0, 0, hooked, 0, hooked]
    assert Counter(count for with_grad, count in counts if not with_grad) == {
        probed: 3,
        0: 3,
    }  # 0: validation
    counts.clear()
    stacks.train(record="every:3", steps=5, depth=2)
    assert counts == [], "a plain net's steps go through buffers, the recorded ones too"


class Broken(nn.Module):
    def forward(self, z: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("boom")


@pytest.mark.parametrize("layer", [0, 2])
def test_no_hook_is_left_when_the_model_raises(layer: int) -> None:
    mlp, probe, recorder = net(depth=3)
    intact = mlp.layers[layer].activation
    mlp.layers[layer].activation = Broken()
    with pytest.raises(RuntimeError, match="boom"):
        recorder.begin(None)
    assert hooks_on(mlp) == 0 and mlp.training
    with pytest.raises(RuntimeError, match="boom"), recorder.watching():
        assert hooks_on(mlp) > 0
        mlp(probe.expand(2, -1, -1))
    assert hooks_on(mlp) == 0
    mlp.layers[layer].activation = intact
    recorder.begin(None)
    values, _ = recorder.finish()
    assert torch.isfinite(values[0, :, recorder.columns["z_std"]]).all()


def test_nothing_keeps_a_graph_alive() -> None:
    gc.collect()
    known = {id(o) for o in gc.get_objects()}
    result = stacks.train(steps=3, metrics="full", activation="prelu", norm="batch", residual="pre")
    gc.collect()
    left = [o for o in gc.get_objects() if id(o) not in known and issubclass(type(o), torch.Tensor)]
    assert not [tensor for tensor in left if tensor.requires_grad or tensor.grad_fn is not None]
    kept = sum(tensor.numel() for tensor in left)  # the memory of NumPy arrays that came from a tensor
    assert kept <= result.input_sq.size


@pytest.mark.parametrize("record", ["all", "off"])
def test_memory_does_not_grow_with_the_steps(record: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Live tensors at the start of step 22 and of step 70, with records flushed every 12 (a shape of its own).

    48 steps are 8 passes over the 48 rows, so as many drawn rows wait for their batch at both.
    """
    alive: dict[int, Counter[tuple[int, ...]]] = {}
    original = loop.BatchStream.next
    taken = [0]

    def counted(self: loop.BatchStream) -> torch.Tensor:
        if taken[0] in (22, 70):
            tensors = [o for o in gc.get_objects() if issubclass(type(o), torch.Tensor) and o.dim() > 1]
            # records handed to NumPy stay: they are the result
            alive[taken[0]] = Counter(tuple(t.shape) for t in tensors if t.shape[1] != 12)
        taken[0] += 1
        return original(self)

    monkeypatch.setattr(loop.BatchStream, "next", counted)
    monkeypatch.setattr("gradlab.train.records.FLUSH_EVERY", 12)
    stacks.train(record=record, steps=80, depth=1, width=3, seeds=1, activation="relu", optimizer="adam")
    assert alive[22] == alive[70]


def test_watch_hears_of_every_step() -> None:
    stack = stacks.make_stack(steps=25, record="every:10")
    heard = []
    train_stack(stack, stack.cell.dataset(), lambda step, steps, *rest: heard.append(steps))
    assert sum(heard) == 25


def test_record_off_keeps_the_first_and_the_last_step() -> None:
    result = stacks.train(record="off", steps=7)
    assert len(result.layers) == 0
    assert result.steps.tolist() == [0, 7]
    full = stacks.train(record="all", steps=7)
    np.testing.assert_array_equal(stacks.scalars(result), stacks.scalars(full)[[0, 7]])


@pytest.mark.parametrize("record", ["every:5", "log", "all"])
def test_sparse_records_are_rows_of_the_dense_ones(record: str) -> None:
    """All but deaths and revivals, which count since the record before."""
    dense, sparse = (stacks.train(record=r, steps=12, activation="relu", lr=0.3) for r in ("all", record))
    at = [dense.steps.tolist().index(step) for step in sparse.steps]
    for place, name in enumerate(dense.layers.columns):
        if name not in ("deaths", "revivals"):
            np.testing.assert_array_equal(
                stacks.layers(sparse)[..., place], stacks.layers(dense)[at][..., place]
            )
    np.testing.assert_array_equal(stacks.scalars(sparse), stacks.scalars(dense)[at])


@pytest.mark.parametrize("residual", ["none", "post", "pre", "rezero"])
@pytest.mark.parametrize("name", ["own_in_place:relu_", "own_in_place:Relu"])
def test_a_users_in_place_activation_is_the_plain_one(
    name: str, residual: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_in_place.py").write_text(
        "import torch\n"
        "def relu_(z):\n    return torch.relu_(z)\n"
        "class Relu(torch.nn.Module):\n"
        "    def forward(self, z):\n        return torch.nn.functional.relu(z, inplace=True)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    plain, own = (stacks.train(activation=a, residual=residual, init="he") for a in ("relu", name))
    flat_parts = ("dead_fraction", "batch_dead_fraction", "low_activity_fraction", "deaths", "revivals")
    for column in set(plain.layers.columns) - set(flat_parts):  # a user's own flat parts are not known
        # The registered ReLU's slopes are counted, a user's are squared, summed and rooted: one rounding more.
        rtol = 2.0**-51 if column == "slope_sq" else 0.0
        np.testing.assert_allclose(
            stacks.column(own, column), stacks.column(plain, column), rtol, err_msg=column
        )
    np.testing.assert_array_equal(stacks.scalars(own), stacks.scalars(plain))


def test_a_diverged_net_is_not_called_free_of_dead_units() -> None:
    mlp, _, recorder = net(activation="relu", depth=2, width=6, seeds=2)
    with torch.no_grad():
        mlp.linears[0].weight[1] = torch.nan
    recorder.begin(None)
    record, _ = recorder.finish()
    for column in ("dead_fraction", "low_activity_fraction", "saturated_fraction", "slope_sq"):
        values = record[:, :2, recorder.columns[column]]
        assert values[0].isfinite().all() and values[1].isnan().all(), column


@pytest.mark.parametrize("norm", ["none", "layer"])
def test_an_activation_whose_slope_is_one_number_everywhere(
    tmp_path: Path, norm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Autograd's gradient of z + 1 is one number that stands for all entries, and cannot be written to."""
    (tmp_path / "shifted.py").write_text("def shifted(z):\n    return z + 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    result = stacks.train(activation="shifted:shifted", steps=1, norm=norm)
    assert (stacks.column(result, "slope_sq")[:, :-1] == 1.0).all()
    assert (stacks.column(result, "saturated_fraction")[:, :-1] == 0.0).all()
