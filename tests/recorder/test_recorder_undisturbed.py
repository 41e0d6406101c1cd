"""A probe is no step of the training: models that change when they are run, trained with and without one."""

import random
from collections import Counter, OrderedDict
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradlab.base.errors import GradlabError
from gradlab.recorder.evaluation import evaluation
from gradlab.recorder.recorder import Recorder

X = torch.randn(12, 8, generator=torch.Generator().manual_seed(7))
Y = torch.arange(12) % 4
TOKENS = torch.arange(12) % 5  # of 9: the probe has more


class Shortened(nn.Module):  # the embedding's forward pass shortens the rows that it looks up
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.out = nn.Embedding(9, 6, max_norm=0.5), nn.Linear(6, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.out(torch.tanh(self.embed(tokens)))


class Spectral(nn.Module):  # a power iteration whenever the weight is looked at
    def __init__(self) -> None:
        super().__init__()
        norm = nn.utils.parametrizations.spectral_norm
        self.conv, self.up = norm(nn.Conv1d(1, 24, 3)), norm(nn.ConvTranspose1d(24, 24, 3))
        self.old = nn.utils.spectral_norm(nn.Linear(192, 8))
        self.out = norm(nn.Linear(8, 4))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.up(F.relu(self.conv(x[:, None])))).flatten(1)
        return self.out(F.relu(self.old(x)))


class Keeper(nn.Module):  # every kind of state that a module may have of its own
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.out = nn.Linear(8, 8), nn.Linear(8, 4)
        self.draw, self.numpy, self.python = (
            torch.Generator().manual_seed(1),
            np.random.default_rng(2),
            random.Random(3),
        )
        self.seen: list[int] = []
        self.counts: dict[str, int] = {"calls": 0}
        self.sizes: set[int] = set()
        self.mean = torch.zeros(8)  # no buffer
        self.deep = {"memory": [torch.zeros(8)], "calls": [0]}
        self.tallies: Counter[str] = Counter(calls=0)
        self.array, self.legacy = np.zeros(8), np.random.RandomState(4)
        self.hidden_net = [nn.BatchNorm1d(8)]  # no submodule: the model's own eval does not reach it
        self.register_buffer("hidden", torch.zeros(8))

    def forward(self, x: Tensor) -> Tensor:
        h = self.fc(x)
        self.seen.append(len(x))
        self.counts["calls"] += 1
        self.sizes.add(len(x))
        self.mean.mul_(0.9).add_(h.detach().mean(dim=0))
        self.hidden.data.add_(h.detach().mean(dim=0))  # behind autograd's back: no new version
        self.deep["memory"][0].add_(h.detach().mean(dim=0))
        self.deep["calls"][0] += 1
        self.tallies["calls"] += 1
        self.array += self.legacy.normal()
        self.hidden_net[0](h.detach())
        known = self.deep["memory"][0] + self.deep["calls"][0] + self.tallies["calls"]
        h = h + 0.1 * known + torch.tensor(self.array).float() + self.hidden_net[0].running_mean
        noise = torch.randn(8, generator=self.draw) + self.numpy.normal() + self.python.random()
        return self.out(
            torch.relu(h + noise + self.mean + self.hidden + len(self.seen) * self.counts["calls"])
        )


def trained(make: Callable[[], nn.Module], x: Tensor, probe: Tensor | None) -> nn.Module:
    torch.manual_seed(4)
    model = make()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    recorder = Recorder(model, probe=probe, schedule="all") if probe is not None else None
    if recorder is not None:
        recorder.__enter__()
    for _ in range(4):
        optimizer.zero_grad()
        F.cross_entropy(model(x), Y).backward()
        if recorder is not None:
            recorder.step(optimizer=optimizer)
        optimizer.step()
    if recorder is not None:
        recorder.__exit__(None, None, None)
    return model


@pytest.mark.parametrize(
    ("make", "x", "probe"),
    [(Shortened, TOKENS, torch.arange(9)), (Spectral, X, X[:5]), (Keeper, X, X[:5])],
    ids=["max_norm", "spectral_norm", "own_state"],
)
def test_a_probe_leaves_a_model_that_changes_when_run_as_it_was(make, x: Tensor, probe: Tensor) -> None:  # type: ignore[no-untyped-def]
    plain, watched = trained(make, x, None), trained(make, x, probe)
    for (key, a), (_, b) in zip(plain.state_dict().items(), watched.state_dict().items(), strict=True):
        assert torch.equal(a, b), key
    if isinstance(plain, Keeper):
        assert plain.seen == watched.seen == [12] * 4 and plain.sizes == watched.sizes == {12}
        assert plain.counts == watched.counts == {"calls": 4} and torch.equal(plain.mean, watched.mean)


def test_a_model_that_changes_its_weights_in_its_forward_pass_is_named() -> None:
    class Clipped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                self.fc.weight.clamp_(-0.1, 0.1)
            return self.fc(x)

    model = Clipped()
    with Recorder(model) as recorder:  # without a probe nothing is run
        F.cross_entropy(model(X), Y).backward()
        recorder.step()
    with Recorder(model, probe=X) as recorder:
        F.cross_entropy(model(X), Y).backward()
        with pytest.raises(GradlabError, match=r"changed its parameter 'fc\.weight'"):
            recorder.step()


def test_a_probe_inside_autocast_leaves_its_cache_of_cast_weights_alone() -> None:
    """Cast without gradients, a weight in the cache would get no gradient in the next forward pass."""
    rows = []
    for inside in (False, True):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(8, 6), nn.GELU(), nn.Linear(6, 4))
        with Recorder(model, probe=X, schedule="all") as recorder:
            with torch.autocast("cpu", torch.bfloat16):
                loss = F.cross_entropy(model(X).float(), Y)
                if inside:
                    torch.clear_autocast_cache()
                    loss.backward()
                    recorder.step()
                    F.cross_entropy(model(X).float(), Y).backward()
                    assert (model[0].weight.grad != 0).any()
                    recorder.step()
            if not inside:
                loss.backward()
                recorder.step()
        rows.append(recorder.to_frame().query("step == 0").drop(columns="step"))
    np.testing.assert_array_equal(rows[0]["z_std"], rows[1]["z_std"])


class Scripted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(x)


class Mirror(nn.Module):  # keeps its mode in an attribute of its own
    def __init__(self) -> None:
        super().__init__()
        self.training = True

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if name == "training":
            super().__setattr__("mode", value)

    def forward(self, x: Tensor) -> Tensor:
        return x + 100 if self.mode else x


def test_modes_that_are_no_plain_attribute_are_set_and_put_back() -> None:
    model = nn.Sequential(nn.Linear(8, 8), torch.jit.script(Scripted()), Mirror(), nn.Linear(8, 4))
    with evaluation(model):
        assert not any(module.training for module in model.modules())
        torch.testing.assert_close(model[:3](X), model[0](X))
    assert all(module.training for module in model.modules())
    assert model[2].mode is True


class Swapping(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cache = {"a": torch.ones(1), "b": torch.zeros(1)}
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.cache.pop("a"), self.cache.pop("b")
        self.cache["b"], self.cache["a"] = a, b
        self.calls = self.calls + 1
        return x


def test_values_that_change_places_and_the_tables_of_an_older_torch() -> None:
    model = Swapping()
    model.__dict__["_buffers"] = OrderedDict(model._buffers)
    before = dict(model.cache)
    with evaluation(model):
        model(X)
    assert model.cache.keys() == before.keys()
    assert all(model.cache[key] is before[key] for key in before)
    assert model.calls.item() == 0


def test_what_a_model_may_keep() -> None:
    model = nn.Linear(3, 3)
    model.odd = np.array([torch.zeros(2), [1]], dtype=object)  # type: ignore[assignment]
    model.deep = deep = []  # type: ignore[assignment]
    for _ in range(5000):
        deep.append([])
        deep = deep[0]
    model.itself = [model]  # type: ignore[assignment]
    model.weights = [model.weight]  # type: ignore[assignment]
    model.fixed = np.zeros(4)  # type: ignore[assignment]
    model.fixed.flags.writeable = False
    state = torch.random.get_rng_state()
    with evaluation(model):
        torch.rand(3)
        deep.append(1)
    assert deep == [] and torch.equal(torch.random.get_rng_state(), state)
    with pytest.raises(GradlabError, match="changed its parameter 'weight'"), evaluation(model):
        model.weight.data.add_(1)
        model.weight.detach().add_(1)
