"""A compiled model: recorded steps run eagerly, the compiled graph runs between them."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradlab.base.errors import ConfigError
from gradlab.recorder.recorder import Recorder

X = torch.randn(12, 8, generator=torch.Generator().manual_seed(7))
Y = torch.arange(12) % 4


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 16), nn.ReLU(inplace=True), nn.Linear(16, 16))
        self.out = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.dropout(F.gelu(self.body(x)), 0.2, self.training))


class Backend:
    """An eager backend that counts the graphs it compiles and the calls of them."""

    def __init__(self) -> None:
        self.graphs = self.calls = 0

    def __call__(self, graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., object]:
        self.graphs += 1

        def run(*args: object) -> object:
            self.calls += 1
            return graph.forward(*args)

        return run


def whole(model: Net, backend: Backend) -> nn.Module:
    return torch.compile(model, backend=backend)  # type: ignore[return-value]


def in_place(model: Net, backend: Backend) -> nn.Module:
    model.compile(backend=backend)
    return model


def part(model: Net, backend: Backend) -> nn.Module:
    model.body = torch.compile(model.body, backend=backend)  # type: ignore[assignment]
    return model


def train(how: Callable[[Net, Backend], nn.Module] | None, recorded: bool, **settings: object):  # type: ignore[no-untyped-def]
    torch.compiler.reset()
    torch.manual_seed(2)
    backend, model = Backend(), Net()
    given = how(model, backend) if how else model
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    recorder = Recorder(given, schedule="every:3", probe=X[:5], **settings) if recorded else None  # type: ignore[arg-type]
    calls = []
    if recorder is not None:
        recorder.__enter__()
    for _ in range(6):
        optimizer.zero_grad()
        before = backend.calls
        F.cross_entropy(given(X), Y).backward()
        calls.append(backend.calls - before)
        if recorder is not None:
            recorder.step(optimizer=optimizer)
        optimizer.step()
    if recorder is not None:
        recorder.__exit__(None, None, None)
    return model, recorder, backend, calls


@pytest.mark.parametrize("how", [whole, in_place, part])
def test_recorded_steps_run_eagerly_and_the_others_compiled(how: Callable[[Net, Backend], nn.Module]) -> None:
    plain, _, alone, _ = train(how, recorded=False)
    model, recorder, backend, calls = train(how, recorded=True)
    assert calls == [0, 1, 1, 0, 1, 1] and backend.graphs == alone.graphs == 1
    for (key, a), (_, b) in zip(plain.state_dict().items(), model.state_dict().items(), strict=True):
        assert torch.equal(a, b), key
    rows, expected = recorder.to_frame(), train(None, recorded=True)[1].to_frame()
    pd.testing.assert_frame_equal(rows, expected, rtol=1e-12)
    assert rows["name"].unique().tolist() == ["body.0", "body.2", "out"]
    assert (rows["delta_rms"] > 0).all() and rows["slope_sq"].notna().tolist() == [True, True, False] * 2
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_the_compilers_stance_is_the_users_again_after_the_last_recorder() -> None:
    from torch._dynamo.eval_frame import _stance as default

    def stance() -> str:
        from torch._dynamo import eval_frame

        return eval_frame._stance.stance

    model = torch.compile(Net(), backend="eager")
    one, other = Recorder(model, schedule="all"), Recorder(model)
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)
    assert stance() == "force_eager"
    F.cross_entropy(model(X), Y).backward()
    other.step()
    assert stance() == "force_eager"  # step 1 is recorded too
    other.__exit__(None, None, None)
    assert stance() == default.stance == "default"
    with pytest.raises(RuntimeError, match="shapes"), Recorder(model):
        model(X[:, :3])
    assert stance() == "default"
    with Recorder(model, metrics="gradients") as recorder:  # which needs no hook
        assert stance() == "default"
        F.cross_entropy(model(X), Y).backward()
        recorder.step()
    assert (recorder.to_frame()["weight_grad_norm"] > 0).all()


def test_a_plain_model_beside_compiled_functions_leaves_them_compiled() -> None:
    torch.compiler.reset()
    backend, model = Backend(), Net()
    loss = torch.compile(lambda z: F.cross_entropy(z, Y), backend=backend)
    with Recorder(model, schedule="all") as recorder:
        for _ in range(2):
            loss(model(X)).backward()
            recorder.step()
    assert backend.calls == 2 and np.isfinite(recorder.to_frame()["delta_rms"]).all()


def test_a_compiled_model_inside_data_parallelism() -> None:
    torch.manual_seed(2)
    model = Net()
    compiled = torch.compile(model, backend="eager")
    for given in (nn.DataParallel(compiled), torch.compile(nn.DataParallel(model), backend="eager")):
        with Recorder(given) as recorder:
            F.cross_entropy(given(X), Y).backward()
            recorder.step()
        assert recorder.to_frame()["name"].tolist() == ["body.0", "body.2", "out"]
        assert (recorder.to_frame()["delta_rms"] > 0).all()


@pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning")
def test_a_scripted_module_is_refused_unless_gradients_alone_are_wanted() -> None:
    scripted = torch.jit.script(nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)))
    with pytest.raises(ConfigError, match="the model is scripted"):
        Recorder(scripted)
    model = nn.Sequential(nn.Linear(8, 8), scripted)
    with pytest.raises(ConfigError, match=r"1\.0 is scripted"):
        Recorder(model)
    for settings in ({"metrics": "gradients"}, {"layers": ["0"]}):
        with Recorder(model, **settings) as recorder:  # type: ignore[arg-type]
            F.cross_entropy(model(X), Y).backward()
            recorder.step()
        assert (recorder.to_frame()["weight_grad_norm"] > 0).all()
