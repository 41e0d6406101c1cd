"""A user's own parts, or any library's, by `module:Attr`: initialisers, norms, optimisers, losses and data sets.

What they compute is compared with an independent computation; whatever they do wrong is one line that names them.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from reference import stacks
from torch import Tensor, nn

from gradlab import activations, data
from gradlab.base.errors import ConfigError, UserError
from gradlab.cli.main import main
from gradlab.config import plan, resolve
from gradlab.config.bound import bind
from gradlab.nn.draws import generator
from gradlab.nn.mlp import build_ensemble
from gradlab.parts import inits, losses, optimizers
from gradlab.parts.own_optimizer import _part
from gradlab.store.stack_result import StackResult
from gradlab.train.checkpoint import Checkpoint
from gradlab.train.loop import Training, build_stack, train_stack

MODULE = '''
import sys
import numpy as np
import pandas as pd
import torch
from torch import nn

# -- initialisers
def filled(weight, value=0.25):
    weight.fill_(value)
def nan_weights(weight):
    weight.fill_(float("nan"))
def raises(*arguments, **more):
    raise ArithmeticError("not today")
def quits(*arguments, **more):
    sys.exit(7)
def grows(weight):
    weight.resize_(9, 9)
def returns(weight):
    return torch.randn_like(weight)
def zeros(weight):
    weight.zero_()
def of_numpy(weight):
    weight.copy_(torch.from_numpy(np.random.randn(*weight.shape)))
def talks(weight):
    print("hello from the init")
    weight.fill_(0.1)
def fails_when_wide(weight):
    if weight.shape[1] > 30:
        raise ArithmeticError("too wide")
    weight.fill_(0.1)

# -- norms
class Halved(nn.Module):
    def __init__(self, width, by=2):
        super().__init__()
        self.gain, self.by = nn.Parameter(torch.randn(width)), by
    def forward(self, z):
        return z * self.gain / self.by
class InPlace(nn.Module):
    def __init__(self, width):
        super().__init__()
    def forward(self, z):
        return z.mul_(0.5)
class OutOfPlace(nn.Module):
    def __init__(self, width):
        super().__init__()
    def forward(self, z):
        return z * 0.5
class Narrows(nn.Module):
    def __init__(self, width):
        super().__init__()
    def forward(self, z):
        return z[:, 1:]
class Doubles(OutOfPlace):
    def forward(self, z):
        return z.double()
class FailsLater(nn.Module):
    calls = 0
    def __init__(self, width):
        super().__init__()
    def forward(self, z):
        FailsLater.calls += 1
        if FailsLater.calls > 30:
            sys.exit("enough")
        return z
def no_module(width):
    return width

class CountsCalls(Halved):
    calls = 0
    def forward(self, z):
        self.calls += 1
        return super().forward(z)

# -- losses that remember
class Warms(nn.Module):
    """Of every call a larger share; it writes into what it is given."""
    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))
    def forward(self, outputs, targets):
        if self.training:
            self.seen += 1
        loss = nn.functional.cross_entropy(outputs.mul_(2), targets.clone())
        targets.zero_()
        return loss * self.seen.clamp(max=8) / 8
built_loss = Warms()
built_phi = nn.PReLU()
class Counts(nn.Module):
    def forward(self, outputs, targets):
        self.calls = getattr(self, "calls", 0) + 1
        return nn.functional.cross_entropy(outputs, targets)
def spoils(outputs, targets):
    targets.zero_()
    return (outputs - 1).square().mean()

# -- optimisers
class Signs(torch.optim.Optimizer):
    """Steps of the gradient's sign, half of them in every second step; what it counts is a number of Python's."""
    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr, "seen": 0})
    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            group["seen"] += 1
            for p in group["params"]:
                state = self.state[p]
                state["steps"] = state.get("steps", 0) + 1
                state["last"] = None
                p.sub_(p.grad.sign() * group["lr"] / (2 - state["steps"] % 2) / group["seen"])
class Replaces(torch.optim.Optimizer):
    """SGD that puts a new tensor in the parameter's place."""
    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr})
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.data = p.data - group["lr"] * p.grad
class KeepsLists(torch.optim.Optimizer):
    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr})
    @torch.no_grad()
    def step(self, closure=None):
        for p in self.param_groups[0]["params"]:
            self.state[p].setdefault("history", []).append(0)
            p.sub_(p.grad * self.param_groups[0]["lr"])
class KeepsBeside(Replaces):
    def __init__(self, params, lr):
        super().__init__(params, lr)
        self.seen = []
    def step(self, closure=None):
        self.seen.append(0)
        super().step()
class TiresOut(Replaces):
    steps = 0
    def step(self, closure=None):
        TiresOut.steps += 1
        if TiresOut.steps > 5:
            raise ArithmeticError("tired")
        super().step()
class NoRate(Replaces):
    def __init__(self, params):
        super().__init__(params, 0.1)

# -- losses
def squares(outputs, targets, weight=1.0):
    wanted = torch.nn.functional.one_hot(targets, outputs.shape[1]).to(outputs.dtype)
    return weight * (outputs - wanted).square().sum(dim=1).mean()
def each_sample(outputs, targets):
    return outputs.square().sum(dim=1)
def detached(outputs, targets):
    return outputs.detach().sum()
def a_float(outputs, targets):
    return 1.0
class Counting(nn.Module):
    """One with a state: the n-th call counts n times."""
    def __init__(self):
        super().__init__()
        self.calls = 0
    def forward(self, outputs, targets):
        self.calls += 1
        return torch.nn.functional.cross_entropy(outputs, targets) * self.calls
class Learns(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
    def forward(self, outputs, targets):
        return outputs.sum() * self.scale

# -- data
def points():
    draw = np.random.RandomState(3)
    return draw.standard_normal((60, 2, 2)), draw.randint(0, 3, 60)
def tensors(rows=60):
    x, y = points()
    return torch.tensor(x[:rows]), torch.tensor(y[:rows])
def frames():
    x, y = points()
    return pd.DataFrame(x.reshape(60, 4), columns=list("abcd")), pd.Series(list("xyz"))[y]
def drawn_anew():
    return np.random.standard_normal((60, 4)), np.arange(60) % 3
def one_class():
    return np.ones((60, 4)), np.zeros(60)
def with_nan():
    x, y = points()
    x[3, 1, 0] = np.nan
    return x, y
def uneven():
    x, y = points()
    return x, y[:-1]
def alone():
    return points()[0]
'''


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working directory with the user's module `own_parts`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_parts.py").write_text(MODULE)
    plan._loaded.clear()
    yield tmp_path
    sys.modules.pop("own_parts", None)


def changed(here: Path, *, imported: bool = False) -> None:
    """The user writes into the module; `imported`: what Python holds of it stays."""
    (here / "own_parts.py").write_text(MODULE + "\n# the same, but who knows")
    if not imported:
        sys.modules.pop("own_parts")


def trained(**flags: Any) -> tuple[Training, StackResult]:
    """A small training that went through, and its records."""
    stack = stacks.make_stack(**flags)
    training = Training(stack, stack.cell.dataset())
    return training, training.run(None, None)


def assert_close_records(one: StackResult, other: StackResult, rtol: float = 1e-9) -> None:
    np.testing.assert_allclose(one.layers.values, other.layers.values, rtol=rtol, atol=1e-12)
    np.testing.assert_allclose(
        one.blocks["steps"].values, other.blocks["steps"].values, rtol=rtol, atol=1e-12
    )


def assert_same_records(one: StackResult, other: StackResult) -> None:
    for name, block in one.blocks.items():
        assert block.values.tobytes() == other.blocks[name].values.tobytes(), name


# -- initialisers ------------------------------------------------------------------------------------------------


def test_weights_are_what_the_function_draws_with_the_replicas_own_key() -> None:
    stack = stacks.make_stack(init="torch.nn.init:xavier_normal_:gain=2", first_seed=4, dtype="float32")
    before = torch.random.get_rng_state()
    mlp = build_stack(stack, stack.cell.dataset())
    assert torch.equal(before, torch.random.get_rng_state()), "nobody else's draws move"
    for layer, linear in enumerate(mlp.linears, start=1):
        for replica, seed in enumerate((4, 5)):
            fan_in, fan_out = linear.weight.shape[1:]
            by_hand = torch.empty(fan_out, fan_in, dtype=torch.float64)
            with torch.random.fork_rng():
                torch.manual_seed(generator(seed, "weight", layer).initial_seed())
                nn.init.xavier_normal_(by_hand, gain=2)
            assert torch.equal(linear.weight[replica], by_hand.T.float())
        assert not linear.bias.any()


def test_the_bias_is_gradlabs_and_the_other_parameters_are_the_functions() -> None:
    stack = stacks.make_stack(init="own_parts:filled:value=0.5:bias=0.7")
    assert stack.cell.network.init == "own_parts:filled:value=0.5:bias=0.7"
    assert stacks.make_stack(init="own_parts:filled:bias=0").cell.network.init == "own_parts:filled"
    mlp = build_stack(stack, stack.cell.dataset())
    for linear in mlp.linears:
        assert (linear.weight == 0.5).all() and (linear.bias == 0.7).all()


def test_zeros_are_weights_and_numpys_draws_are_the_seeds() -> None:
    assert trained(init="own_parts:zeros")[1].layers.column("weight_norm")[:, 0].max() == 0
    results = []
    for state in (1, 2):
        np.random.seed(state)
        results.append(trained(init="own_parts:of_numpy")[1])
    assert_same_records(*results)


def test_truths_are_truths() -> None:
    stack = stacks.make_stack(norm="torch.nn:LayerNorm:elementwise_affine=False")
    instance = build_stack(stack, stack.cell.dataset()).layers[0].norm_before.instances[0]
    assert instance.weight is None


def test_the_nets_of_an_ensemble_differ_and_are_the_same_again() -> None:
    linear = activations.get("linear")
    rule = inits.get("torch.nn.init:orthogonal_", linear, own=True)

    def weights() -> Tensor:
        mlp = build_ensemble(
            activation=linear, init=rule, depth=1, width=4, features=3, outputs=2, nets=5, seed=1
        )
        return mlp.linears[0].weight

    drawn = weights()
    assert drawn.shape == (5, 3, 4) and torch.equal(drawn, weights())
    assert len({tuple(weight.flatten().tolist()) for weight in drawn}) == 5
    torch.testing.assert_close(drawn @ drawn.mT, torch.eye(3).expand(5, -1, -1))


def test_what_theory_does_not_know_is_not_predicted() -> None:
    from gradlab.lab.predict import predict

    def not_predicted(training: Training, result: StackResult) -> bool:
        predict(training.stack, result, training.stack.cell.dataset())
        return bool(np.isnan(result.layers.column("delta_rms_predicted")).all())

    for own in ({"init": "torch.nn.init:xavier_normal_"}, {"norm": "torch.nn:LayerNorm"}):
        training, result = trained(**own)
        assert not_predicted(training, result)
    training, result = trained(loss="torch.nn:CrossEntropyLoss", optimizer="torch.optim:Adam")
    assert not not_predicted(training, result), "it is told the gradient at the top"


def test_weights_that_are_no_numbers_are_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--init", "own_parts:nan_weights") == 0
    assert "diverged" in json.loads(capsys.readouterr().out)["summary"]["verdict"]


# -- norms -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("position", ["", ":position=post"])
@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("torch.nn:LayerNorm", "layer"),
        ("torch.nn:BatchNorm1d", "batch"),
        ("torch.nn:RMSNorm:eps=1e-5", "rms"),
    ],
)
def test_a_net_with_torchs_norm_is_the_net_with_gradlabs(theirs: str, ours: str, position: str) -> None:
    """In training and in eval mode, which the validation loss and the probe are taken in."""
    flags = {"steps": 5, "activation": "relu", "residual": "pre", "optimizer": "adam", "width": 5}
    _, one = trained(norm=theirs + position, **flags)
    _, other = trained(norm=ours + position, **flags)
    assert_close_records(one, other, rtol=1e-6)


def test_each_replica_has_an_instance_of_its_own_which_its_seed_draws() -> None:
    stack = stacks.make_stack(norm="own_parts:Halved:by=4", first_seed=3)
    mlp = build_stack(stack, stack.cell.dataset())
    instances = mlp.layers[0].norm_before.instances
    assert [instance.by for instance in instances] == [4, 4]
    for layer, hidden in enumerate(mlp.layers, start=1):
        for seed, instance in zip((3, 4), hidden.norm_before.instances, strict=True):
            expected = torch.randn(5, generator=generator(seed, "norm", layer))
            torch.testing.assert_close(instance.gain.float(), expected)
    assert {owner for _, owner in mlp.owners()} == {None, 0, 1}


def test_a_norm_that_writes_into_its_argument_leaves_the_stream_alone() -> None:
    _, one = trained(norm="own_parts:InPlace", residual="pre")
    _, other = trained(norm="own_parts:OutOfPlace", residual="pre")
    assert_same_records(one, other)


# -- optimisers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ({"optimizer": "torch.optim:SGD"}, {"optimizer": "sgd"}),
        ({"optimizer": "torch.optim:SGD", "momentum": 0.9}, {"optimizer": "momentum"}),
        ({"optimizer": "torch.optim:SGD:nesterov=1", "momentum": 0.9}, {"optimizer": "nesterov"}),
        ({"optimizer": "torch.optim:Adam", "weight_decay": 0.1}, {"optimizer": "adam", "weight_decay": 0.1}),
        ({"optimizer": "torch.optim:RMSprop"}, {"optimizer": "rmsprop"}),
        ({"optimizer": "own_parts:Replaces"}, {"optimizer": "sgd"}),
    ],
    ids=str,
)
def test_torchs_optimiser_is_gradlabs(theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    flags = {"steps": 6, "schedule": "cosine:warmup=2", "activation": "prelu", "norm": "own_parts:Halved"}
    _, one = trained(**theirs, **flags)
    _, other = trained(**ours, **flags)
    assert_close_records(one, other)


def test_adagrad_is_the_loop_written_by_hand() -> None:
    """Duchi et al. 2011, with torch's epsilon of 1e-10."""
    stack = stacks.make_stack(optimizer="torch.optim:Adagrad", steps=5, lr=0.1, schedule="linear")
    dataset = stack.cell.dataset()
    training = Training(stack, dataset)
    weights = [p.detach()[1].clone().requires_grad_() for p in training.parameters]
    sums = [torch.zeros_like(weight) for weight in weights]
    x, y = torch.tensor(dataset.x_train), torch.tensor(dataset.y_train)
    for step, rows in enumerate(stacks.batches_of(stack, dataset, 1)[:-1]):
        h = x[rows]
        for place in range(0, len(weights), 2):
            z = h @ weights[place] + weights[place + 1]
            h = torch.tanh(z)
        gradients = torch.autograd.grad(nn.functional.cross_entropy(z, y[rows]), weights)
        with torch.no_grad():
            for weight, total, gradient in zip(weights, sums, gradients, strict=True):
                total += gradient**2
                weight -= 0.1 * (1 - step / 5) * gradient / (total.sqrt() + 1e-10)
    training.run(None, None)
    for parameter, weight in zip(training.parameters, weights, strict=True):
        torch.testing.assert_close(parameter.detach()[1], weight.detach(), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("optimizer", ["torch.optim:Adagrad", "torch.optim:Adafactor", "own_parts:Signs"])
def test_a_replica_does_not_notice_its_company(optimizer: str) -> None:
    flags = {"optimizer": optimizer, "steps": 4, "dtype": "float32", "loss": "own_parts:Counting"}
    together, _ = trained(**flags, seeds=3)
    alone, _ = trained(**flags, seeds=1, first_seed=2)
    for one, other in zip(together.parameters, alone.parameters, strict=True):
        assert torch.equal(one[2], other[0])


@pytest.mark.parametrize(
    "optimizer",
    ["torch.optim:Adagrad", "torch.optim:NAdam", "torch.optim:ASGD", "torch.optim:SGD", "own_parts:Signs"],
)
@pytest.mark.parametrize(("dtype", "loss"), [("float32", "cross_entropy"), ("bfloat16", "own_parts:Warms")])
def test_it_goes_on_from_a_checkpoint_with_the_same_bits(
    here: Path, optimizer: str, dtype: str, loss: str
) -> None:
    stack = stacks.make_stack(
        optimizer=optimizer, steps=6, dtype=dtype, loss=loss, activation="prelu", norm="torch.nn:BatchNorm1d"
    )
    dataset = stack.cell.dataset()
    expected = train_stack(stack, dataset)
    path = here / "a.checkpoint"
    first = Training(stack, dataset)
    for step in range(3):
        first._step(step, recorded=True)
    Checkpoint(path, 0).write(first, first.stack, 3)
    said: list[str] = []
    assert_same_records(train_stack(stack, dataset, checkpoint=Checkpoint(path, 1e9, said.append)), expected)
    assert not said


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("own_parts:KeepsLists", "keeps 'history', which is list"),
        ("own_parts:KeepsBeside", "changes what is neither in its state nor a number of its groups"),
        ("own_parts:Counts", "changes what is no buffer"),
        ("own_parts:CountsCalls", "changes what is neither a parameter nor a buffer"),
    ],
)
def test_what_a_checkpoint_cannot_hold_is_told_and_the_training_goes_on(
    here: Path, text: str, says: str
) -> None:
    flag = {"own_parts:Counts": "loss", "own_parts:CountsCalls": "norm"}.get(text, "optimizer")
    stack = stacks.make_stack(**{flag: text}, steps=4)
    said: list[str] = []
    train_stack(stack, stack.cell.dataset(), checkpoint=Checkpoint(here / "a.checkpoint", 0, said.append))
    (message,) = said
    assert "goes on without" in message and f"{text} {says}" in message
    assert not (here / "a.checkpoint").exists()


def test_what_it_keeps_for_a_weight_is_counted() -> None:
    kept = {
        name: optimizers.get(f"torch.optim:{name}", own=True).state for name in ("SGD", "Adagrad", "Adamax")
    }
    assert kept == {"SGD": 0, "Adagrad": 1, "Adamax": 2}


# -- losses ------------------------------------------------------------------------------------------------------


def test_the_gradient_of_torchs_loss_is_autograds_on_one_replica() -> None:
    loss = losses.get("torch.nn:MultiMarginLoss:margin=2", own=True).begin()
    draw = torch.Generator().manual_seed(0)
    outputs = torch.randn(3, 16, 4, dtype=torch.float64, generator=draw)
    labels = torch.randint(4, (3, 16), generator=draw)
    values, gradient = loss.losses_and_gradient(outputs, labels)
    for replica in range(3):
        leaf = outputs[replica].clone().requires_grad_()
        expected = nn.MultiMarginLoss(margin=2)(leaf, labels[replica])
        torch.testing.assert_close(values[replica], expected.detach())
        torch.testing.assert_close(gradient[replica], torch.autograd.grad(expected, leaf)[0])


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [("torch.nn:CrossEntropyLoss", "cross_entropy"), ("own_parts:squares", "mse")],
)
@pytest.mark.parametrize("norm", ["none", "layer"])
def test_a_net_with_torchs_loss_is_the_net_with_gradlabs(theirs: str, ours: str, norm: str) -> None:
    """Its validation loss too; with and without the pass in buffers."""
    _, one = trained(loss=theirs, norm=norm, steps=4)
    _, other = trained(loss=ours, norm=norm, steps=4)
    assert_close_records(one, other)


def test_a_loss_that_writes_into_the_classes_spoils_nobodys_data() -> None:
    before = trained()[1]
    trained(loss="own_parts:spoils")
    after = trained()[1]
    assert_same_records(after, before)
    assert before.blocks["steps"].column("val_accuracy").max() > 0


def test_what_was_built_already_is_copied_for_each_net_and_layer() -> None:
    stack = stacks.make_stack(activation="own_parts:built_phi", loss="own_parts:built_loss", steps=6)
    mlp = build_stack(stack, stack.cell.dataset())
    slopes = [instance.weight for layer in mlp.layers for instance in layer.activation.instances]
    assert len({id(slope) for slope in slopes}) == 3 * 2
    one, other = (train_stack(stack, stack.cell.dataset()) for _ in range(2))
    assert_same_records(one, other)
    alone = trained(activation="own_parts:built_phi", loss="own_parts:built_loss", steps=6, seeds=1)[1]
    np.testing.assert_allclose(
        alone.blocks["steps"].column("train_loss")[0], one.blocks["steps"].column("train_loss")[0], rtol=1e-9
    )


def test_records_do_not_teach_a_loss_that_remembers() -> None:
    often = trained(loss="own_parts:Warms", steps=6, record="all")[1]
    seldom = trained(loss="own_parts:Warms", steps=6, record="every:6")[1]
    for name in ("train_loss", "val_loss"):
        column = often.blocks["steps"].column(name)
        np.testing.assert_array_equal(column[:, [0, -1]], seldom.blocks["steps"].column(name)[:, [0, -1]])


def test_two_trainings_of_one_stack_share_no_loss() -> None:
    stack = stacks.make_stack(loss="own_parts:Counting", steps=3)
    one, other = (train_stack(stack, stack.cell.dataset()) for _ in range(2))
    assert_same_records(one, other)


# -- data sets ---------------------------------------------------------------------------------------------------


def test_a_function_gives_the_data_that_a_file_would(here: Path) -> None:
    from_function = data.load("own_parts:points")
    x = from_function.x_train
    assert x.shape == (48, 4) and from_function.classes == 3
    sys.path.insert(0, str(here))
    import own_parts  # type: ignore[import-not-found]

    rows, classes = own_parts.points()
    frame = pd.DataFrame(rows.reshape(60, 4), columns=list("abcd")).assign(label=classes)
    frame.to_csv(here / "points.csv", index=False)
    from_file = data.load(str(here / "points.csv"), "label")
    np.testing.assert_array_equal(x, from_file.x_train)
    np.testing.assert_array_equal(from_function.y_val, from_file.y_val)
    for name in ("own_parts:tensors", "own_parts:frames"):
        np.testing.assert_array_equal(x, data.load(name).x_train)
    assert data.load("own_parts:frames").class_names == ("x", "y", "z")
    assert len(data.load("own_parts:tensors:rows=40").y_train) < 48


def test_the_digest_covers_the_source_and_what_is_returned(here: Path) -> None:
    before = data.digest("own_parts:points")
    assert before == data.digest("own_parts:points") == data.load("own_parts:points").digest
    assert before != data.digest("own_parts:tensors:rows=59")
    assert data.digest("own_parts:drawn_anew") != data.digest("own_parts:drawn_anew")
    changed(here)
    assert data.digest("own_parts:points") != before


def test_a_function_that_draws_anew_is_noticed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--data", "own_parts:drawn_anew") == 2
    problem = json.loads(capsys.readouterr().out)["error"]["problems"][0]
    assert problem["where"] == "own_parts:drawn_anew" and "has changed" in problem["message"]
    assert "must return the same data in every call" in problem["hint"]


# -- what goes wrong ---------------------------------------------------------------------------------------------

TINY = ["--data", "moons:samples=60", "--width", "8", "--depth", "3", "--batch-size", "16", "--steps", "4"]


def run(*arguments: str) -> int:
    return main(["run", "--activation", "tanh", *TINY, "--seeds", "2", "--json", "--quiet", *arguments])


WRONG: list[tuple[str, str, str]] = [
    ("--init", "own_parts:missing", "has no attribute 'missing'"),
    ("--init", "no_such_parts:init", "cannot import 'no_such_parts'"),
    ("--init", "own_parts:raises", "own_parts:raises failed: ArithmeticError: not today"),
    ("--init", "own_parts:quits", "own_parts:quits failed: SystemExit: 7"),
    ("--init", "own_parts:grows", "made [9, 9] of a weight [6, 4]"),
    (
        "--init",
        "own_parts:returns",
        "leaves the weight as it was; allowed: a function that fills a weight in place",
    ),
    ("--init", "own_parts:Halved", "is a class; allowed: a function that fills a weight in place"),
    ("--norm", "own_parts:Doubles", "makes torch.float64 of torch.float32"),
    ("--init", "torch.nn.init:xavier_normal_:gian=2", "unexpected keyword argument 'gian'"),
    ("--init", "torch.nn.init:dirac_", "Only tensors with 3, 4, or 5 dimensions"),
    ("--init", "torch.nn.init:zeros_:bias=x", "'x' is not a number"),
    ("--norm", "own_parts:no_module", "gave int; allowed: a torch.nn.Module"),
    ("--norm", "own_parts:Narrows", "does not map a tensor to one of the same shape"),
    ("--norm", "own_parts:quits", "own_parts:quits failed: SystemExit: 7"),
    ("--norm", "torch.nn:LayerNorm:position=above", "'above' is not known; allowed: pre or post"),
    ("--norm", "torch.nn:GroupNorm", "missing 1 required positional argument: 'num_channels'"),
    ("--optimizer", "torch.optim:LBFGS", "needs a closure"),
    ("--optimizer", "torch.optim:SparseAdam", "does not support dense gradients"),
    ("--optimizer", "own_parts:raises", "is no optimiser; allowed: a class of torch.optim.Optimizer"),
    ("--optimizer", "torch.optim:Adagrad:lr=0.1", "says its lr, which is set in every step"),
    ("--loss", "own_parts:each_sample", "gave a tensor [4] for a batch; allowed: one number"),
    ("--loss", "own_parts:detached", "gave a number without a gradient"),
    ("--loss", "own_parts:a_float", "gave float for a batch; allowed: one number"),
    ("--loss", "own_parts:Learns", "has parameters of its own"),
    ("--loss", "own_parts:built_loss:reduction=sum", "is built already and takes no arguments"),
    ("--loss", "own_parts:quits", "own_parts:quits failed: SystemExit: 7"),
    (
        "--loss",
        "torch.nn:BCELoss",
        "torch.nn:BCELoss failed: RuntimeError: all elements of input should be between",
    ),
    ("--loss", "torch.nn:HuberLoss", "torch.nn:HuberLoss takes numbers or labels of 0 or 1, moons"),
    ("--data", "own_parts:raises", "own_parts:raises failed: ArithmeticError: not today"),
    ("--data", "own_parts:quits", "own_parts:quits failed: SystemExit: 7"),
    ("--data", "own_parts:one_class", "all 60 rows are of one class"),
    ("--data", "own_parts:with_nan", "row 4 of 60 is empty or NaN"),
    ("--data", "own_parts:uneven", "gave 60 rows of X and 59 of y"),
    ("--data", "own_parts:alone", "gave ndarray; allowed: (X, y)"),
    ("--data", "own_parts:missing", "has no attribute 'missing'"),
]


@pytest.mark.parametrize(("flag", "text", "says"), WRONG, ids=lambda value: value if ":" in value else "")
def test_mistakes_are_known_when_planning(
    flag: str, text: str, says: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*TINY, flag, text]
    assert main(["run", *arguments, "--quiet"]) == 2
    out, err = capsys.readouterr()
    err = err.replace("\n  allowed: ", "; allowed: ")
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert line.startswith(f"error: {flag}") and text.partition(":")[0] in line and says in line
    assert out == "" and "Traceback" not in err
    assert not (here / "results").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["torch.optim:Adam", "--momentum", "0.9"], "--momentum: torch.optim:Adam takes no momentum"),
        (
            ["own_parts:Signs", "--weight-decay", "0.1"],
            "--weight-decay: own_parts:Signs takes no weight_decay",
        ),
        (["own_parts:NoRate"], "--optimizer: own_parts:NoRate takes no lr, which is set in every step"),
        (
            ["torch.optim:Adam:weight_decay=0.2", "--weight-decay", "0.1"],
            "--weight-decay: torch.optim:Adam:weight_decay=0.2 says weight_decay already",
        ),
    ],
)
def test_what_an_optimiser_does_not_take_names_the_flag(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", *TINY, "--quiet", "--optimizer", *arguments]) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--activation", "--init", "--loss", "--data"])
def test_what_says_that_it_wraps_itself_is_a_mistake_of_its_author(
    flag: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = f"endless_{flag[2:]}"
    (here / f"{name}.py").write_text("def part(x):\n    return x\npart.__wrapped__ = part\n")
    assert main(["run", *TINY, flag, f"{name}:part"]) == 2
    (line, *_) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {flag}: {name}:part cannot be looked at: ValueError")


def test_several_mistakes_are_told_at_once() -> None:
    request = resolve(
        flags={"norm": "own_parts:Narrows", "loss": "own_parts:missing", "init": "own_parts:quits"}
    )
    base = request.base
    with pytest.raises(UserError) as caught:
        bind(base.network, base.training, base.recording)
    assert [problem.where for problem in caught.value.problems] == ["--init", "--norm", "--loss"]


@pytest.mark.parametrize(
    ("flag", "text", "says"),
    [
        (
            "--init",
            "own_parts:fails_when_wide",
            "own_parts:fails_when_wide failed: ArithmeticError: too wide",
        ),
        ("--norm", "own_parts:FailsLater", "own_parts:FailsLater failed: SystemExit: enough"),
        ("--optimizer", "own_parts:TiresOut", "own_parts:TiresOut failed: ArithmeticError: tired"),
    ],
)
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_part_that_fails_later_fails_its_cell_and_no_other(
    flag: str, text: str, says: str, workers: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [*TINY, "--width", "32", "--out", "out", "--workers", workers, "--seeds", "1"]
    usual = {"--init": "auto", "--norm": "none", "--optimizer": "sgd"}[flag]
    assert (
        main(["compare", "--activation", "tanh", *flags, flag, f"{usual},{text}", "--json", "--quiet"]) == 3
    )
    document = json.loads(capsys.readouterr().out)
    (failure,) = document["failed"]
    assert f"{flag}: {says}" in failure["message"]
    assert len(pd.read_csv(here / "out" / "summary.csv")) == 1
    assert len(list((here / "out" / ".journal").glob("*.npz"))) == 1
    assert not list((here / "out").rglob("*.part"))


def test_a_run_whose_part_fails_later_ends_with_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", *TINY, "--quiet", "--width", "32", "--init", "own_parts:fails_when_wide"]) == 1
    assert "own_parts:fails_when_wide failed: ArithmeticError: too wide" in capsys.readouterr().err


def test_what_a_part_prints_is_no_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--init", "own_parts:talks", "--workers", "1") == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["summary"]["init"] == "own_parts:talks" and "hello from the init" in err


# -- identity ----------------------------------------------------------------------------------------------------

OWN = {
    "init": "own_parts:filled",
    "norm": "own_parts:OutOfPlace",
    "optimizer": "own_parts:Replaces",
    "loss": "own_parts:squares",
    "data": "own_parts:points",
}


@pytest.mark.parametrize("flag", OWN)
def test_the_source_of_a_part_is_part_of_the_cell(flag: str, here: Path) -> None:
    def cell() -> plan.Cell:
        return stacks.make_stack(**{flag: OWN[flag]}).cell

    before = cell()
    assert cell().id == before.id
    changed(here)
    assert cell().id != before.id


def test_what_is_in_memory_is_not_taken_for_what_is_in_the_file(here: Path) -> None:
    text = "own_parts:filled"
    before = stacks.make_stack(init=text).cell.id
    changed(here, imported=True)
    for _ in range(2):
        with pytest.raises(UserError, match="'own_parts' has changed since it was imported"):
            stacks.make_stack(init=text)
    importlib.reload(sys.modules["own_parts"])
    assert stacks.make_stack(init=text).cell.id != before


@pytest.mark.parametrize(
    "definition",
    [
        "@torch.no_grad()\ndef fill(w):\n    w.normal_(0, {})\n",
        "import functools\nfill = functools.partial(torch.nn.init.constant_, val={})\n",
        "class Fill:\n    def __init__(self, x):\n        self.x = x\n"
        "    def __call__(self, w):\n        w.fill_(self.x)\nfill = Fill({})\n",
    ],
    ids=["decorated", "partial", "object"],
)
def test_the_source_of_what_is_no_plain_function_counts(here: Path, definition: str) -> None:
    ids = []
    for number in ("0.1", "5.0"):
        (here / "made.py").write_text("import torch\n" + definition.format(number))
        sys.modules.pop("made", None)
        ids.append(stacks.make_stack(init="made:fill").cell.id)
    sys.modules.pop("made")
    assert ids[0] != ids[1]


@pytest.mark.parametrize("flag", [flag for flag in OWN if flag != "data"])
def test_a_part_that_changes_before_its_job_is_told(flag: str, here: Path) -> None:
    from gradlab.lab.job import work

    stack = stacks.make_stack(**{flag: OWN[flag]})
    work(stack, lambda *_: None, lambda _: None)
    (here / "own_parts.py").write_text(MODULE + "\n# the same, but who knows")
    with pytest.raises(UserError, match=f"{OWN[flag]}: it has changed since this was planned"):
        work(stack, lambda *_: None, lambda _: None)


@pytest.mark.slow
def test_tables_bear_the_canonical_texts(here: Path) -> None:
    flags = [word for flag, text in OWN.items() for word in (f"--{flag}", text)]
    assert main(["run", "--depth", "2", "--width", "4", "--batch-size", "16", "--steps", "2", "--seeds", "1",
                 "--out", "out", "--quiet", *flags]) == 0  # fmt: skip
    row = pd.read_csv(here / "out" / "summary.csv").iloc[0]
    columns = {"init": "init", "norm": "norm", "optimizer": "optimizer", "data": "dataset"}
    assert {flag: row[column] for flag, column in columns.items()} == {
        flag: text for flag, text in OWN.items() if flag != "loss"
    }
    for command in (["diagnose", "out"], ["report", "out"]):
        (here / "own_parts.py").write_text("raise ArithmeticError('a table must not import what it names')")
        sys.modules.pop("own_parts", None)
        assert main(command) == 0


# -- any model ---------------------------------------------------------------------------------------------------


def test_watch_trains_with_them_too(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "own_nets.py").write_text(
        "import torch\n"
        "def net(features, classes):\n"
        "    torch.manual_seed(0)\n"
        "    return torch.nn.Sequential(torch.nn.Linear(features, 8), torch.nn.ReLU(), torch.nn.Linear(8, classes))\n"
    )
    common = ["watch", "own_nets:net", "--data", "own_parts:points", "--batch-size", "16", "--steps", "6",
              "--seeds", "1", "--quiet"]  # fmt: skip
    assert main([*common, "--out", "ours", "--optimizer", "rmsprop", "--loss", "mse"]) == 0
    own = ["--optimizer", "torch.optim:RMSprop", "--loss", "own_parts:squares"]
    assert main([*common, "--out", "theirs", *own]) == 0
    ours, theirs = (pd.read_csv(here / out / "steps.csv") for out in ("ours", "theirs"))
    np.testing.assert_allclose(ours["train_loss"], theirs["train_loss"], rtol=1e-5)
    np.testing.assert_allclose(ours["val_loss"], theirs["val_loss"], rtol=1e-5)
    assert set(theirs["optimizer"]) == {"torch.optim:RMSprop"}
    capsys.readouterr()
    changed(here)
    assert main([*common, "--out", "theirs", *own]) == 2
    assert "it holds the results of another configuration" in capsys.readouterr().err, (
        "its source is part of the identity"
    )
    assert main([*common, "--out", "new", "--optimizer", "own_parts:TiresOut", "--steps", "9"]) == 2
    assert "--optimizer: own_parts:TiresOut failed: ArithmeticError: tired" in capsys.readouterr().err
    assert main([*common, "--out", "new", "--loss", "own_parts:each_sample"]) == 2
    assert "--loss: own_parts:each_sample gave a tensor [" in capsys.readouterr().err


def test_only_where_it_is_asked_for_a_users_own_is_imported() -> None:
    """Tables are read with these: they must not make gradlab import what they name."""
    with pytest.raises(ConfigError, match=r"unknown init 'own_parts'.*package\.module:Attr"):
        inits.get("own_parts:filled", activations.get("relu"))
    assert "own_parts" not in sys.modules


def test_an_optimiser_of_the_users_own_sees_a_matrix_as_a_matrix_and_a_bias_as_a_vector() -> None:
    shapes = {(2, 4, 3): (4, 3), (2, 1, 3): (3,), (2, 4, 1): (4, 1), (2, 5): (5,)}
    for stacked, own in shapes.items():
        assert _part(torch.ones(stacked), None, 1).shape == own
    whole = torch.ones(1, 3)
    assert _part(whole, 0, 1) is whole, "a tensor of one replica's own"
