"""Several processes that train one model record what one process with the whole batch does."""

import socket
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Replicate
from torch.distributed.tensor.parallel import ColwiseParallel, parallelize_module

from gradlab.base.errors import ConfigError, GradlabError
from gradlab.recorder import processes
from gradlab.recorder.recorder import Recorder

RANKS = 2
RANDOM = torch.Generator().manual_seed(3)
X = torch.randn(8, 5, 6, dtype=torch.float64, generator=RANDOM)
Y = torch.arange(8) % 3
THEORY = ("delta_rms_predicted", "delta_rms_band", "h_rms_predicted", "h_rms_band")


class Net(nn.Module):
    """Layers of odd sizes, of which a rank may have less than another, and nothing of a bias with one entry."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.rnn = nn.RNN(6, 7, batch_first=True)
        self.body = nn.Sequential(nn.Linear(7, 9), nn.LayerNorm(9), nn.ReLU(), nn.Linear(9, 7), nn.ReLU())
        self.gate = nn.Linear(7, 1)
        self.frozen = nn.Linear(7, 7)
        self.frozen.requires_grad_(False)
        self.out = nn.Linear(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.rnn(x)[0][:, -1]
        x = self.body(x)
        out: Tensor = self.out(self.frozen(x) * torch.sigmoid(self.gate(x)))
        return out


def net() -> Net:
    return Net().double()


def record(model: nn.Module, part: slice, metrics: str = "standard", **settings: Any) -> Recorder:
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1, momentum=0.9)
    recorder = Recorder(
        model, probe=X, targets=Y, criterion=F.cross_entropy, schedule="every:2", metrics=metrics, **settings
    )
    with recorder:
        for _ in range(5):
            optimizer.zero_grad()
            x, y = X[part], Y[part]
            loss = F.cross_entropy(model(x), y) if len(x) else model(x).sum()
            loss.backward()
            recorder.step(loss=loss, optimizer=optimizer)
            optimizer.step()
    return recorder


def keep(recorder: Recorder, path: str) -> None:
    frames = recorder.to_frame(), recorder.steps_table().frame(), recorder.time_table().frame()
    pd.to_pickle(frames, path)


def sharded(**settings: Any) -> Net:
    model = net()
    for part in (model.rnn, model.body, model.out):
        fully_shard(part, **settings)
    return fully_shard(model, **settings)


def _rank(rank: int, port: int, out: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=RANKS)
    half = slice(4 * rank, 4 * rank + 4)
    parallel = nn.parallel.DistributedDataParallel

    recorder = record(parallel(net()), half)
    keep(recorder, f"{out}/ddp-{rank}.pkl")
    written = recorder.save(f"{out}/folder")
    assert (written is None) == (rank > 0)

    model = sharded()
    keep(record(model, half, "full"), f"{out}/fsdp-{rank}.pkl")
    torch.save({k: v.full_tensor() for k, v in model.state_dict().items()}, f"{out}/fsdp-{rank}.pt")
    model = sharded()
    plain_loop(model, half)
    torch.save({k: v.full_tensor() for k, v in model.state_dict().items()}, f"{out}/plain-{rank}.pt")

    with pytest.raises(ConfigError, match="processes"):
        Recorder(sharded(), processes="own")
    keep(record(sharded(), half, "gradients"), f"{out}/norms-{rank}.pkl")
    plan = {"out": ColwiseParallel(output_layouts=Replicate())}
    parts = parallelize_module(net(), init_device_mesh("cpu", (RANKS,)), plan)
    with pytest.raises(ConfigError, match="tensor parallelism"):
        Recorder(parts)
    keep(record(parts, slice(0, 8), "gradients"), f"{out}/parts-{rank}.pkl")
    copies = init_device_mesh("cpu", (RANKS, 1), mesh_dim_names=("copy", "shard"))
    keep(record(sharded(mesh=copies), half, "full"), f"{out}/hsdp-{rank}.pkl")

    samples = slice(0, 8) if rank == 0 else slice(0, 0)
    keep(record(parallel(net()), samples), f"{out}/empty-ddp-{rank}.pkl")
    keep(record(sharded(), samples), f"{out}/empty-fsdp-{rank}.pkl")

    model = parallel(net())
    with pytest.raises(GradlabError, match="not at one step"), Recorder(model, first_step=rank) as recorder:
        F.cross_entropy(model(X[half]), Y[half]).backward()
        recorder.step()

    processes.AGREED_WITHIN = timedelta(seconds=1)
    model = sharded()
    optimizer = torch.optim.SGD(model.parameters())
    F.cross_entropy(model(X[half]), Y[half]).backward()
    if rank == 0:
        with (
            pytest.raises(GradlabError, match="lie on all of them"),
            Recorder(model, metrics="gradients") as recorder,
        ):
            recorder.step(optimizer)

    model = parallel(net())
    if rank == 0:
        with pytest.warns(UserWarning, match="not every process records"):
            keep(record(model, half), f"{out}/alone.pkl")
    else:
        plain_loop(model, half)

    model = parallel(net())
    with pytest.warns(UserWarning, match="not every process records"):
        record(model, half)  # one rank's counter is ahead of the other's: nobody waits for ever
    distributed.destroy_process_group()


def plain_loop(model: nn.Module, part: slice) -> None:
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1, momentum=0.9)
    for _ in range(5):
        optimizer.zero_grad()
        F.cross_entropy(model(X[part]), Y[part]).backward()
        optimizer.step()


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(_rank, args=(port, str(folder)), nprocs=RANKS)
    return folder


def assert_alike(found: pd.DataFrame, expected: pd.DataFrame, but: tuple[str, ...] = ()) -> None:
    assert [*found.columns] == [*expected.columns] and len(found) == len(expected) > 0
    for column in found.columns:
        if column in but:
            continue
        if pd.api.types.is_numeric_dtype(expected[column]):
            np.testing.assert_allclose(found[column], expected[column], rtol=1e-6, atol=1e-12, err_msg=column)
        else:
            assert found[column].tolist() == expected[column].tolist(), column


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["ddp", "fsdp", "hsdp"])
def test_all_ranks_have_the_records_of_one_process(out: Path, engine: str) -> None:
    one = record(net(), slice(0, 8), "standard" if engine == "ddp" else "full")
    expected = one.to_frame(), one.steps_table().frame(), one.time_table().frame()
    ranks = [pd.read_pickle(out / f"{engine}-{rank}.pkl") for rank in range(RANKS)]
    for mine, other in zip(*ranks, strict=True):
        pd.testing.assert_frame_equal(mine, other)
    layers, steps, time = ranks[0]
    # of samples, the theory's numbers are those of the first rank; it says nothing of sharded weights
    assert_alike(layers, expected[0], THEORY[:2] if engine == "ddp" else THEORY)
    assert_alike(steps, expected[1])
    assert_alike(time, expected[2])
    assert layers[[*THEORY]].notna().any().any() == (engine == "ddp")


@pytest.mark.slow
def test_norms_without_hooks_are_those_of_one_process(out: Path) -> None:
    one = record(net(), slice(0, 8), "gradients").to_frame()
    for rank in range(RANKS):
        for name in ("norms", "parts"):
            assert_alike(pd.read_pickle(out / f"{name}-{rank}.pkl")[0], one)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["ddp", "fsdp"])
def test_a_rank_without_samples_adds_none(out: Path, engine: str) -> None:
    ranks = [pd.read_pickle(out / f"empty-{engine}-{rank}.pkl") for rank in range(RANKS)]
    for mine, other in zip(*ranks, strict=True):
        pd.testing.assert_frame_equal(mine, other)
    one = record(net(), slice(0, 8)).to_frame()
    first = one["step"] == 0  # before an update: DDP halves the gradient
    for column in ("delta_rms", "zero_fraction", "batch_dead_fraction", "batch", "nonfinite"):
        np.testing.assert_allclose(ranks[0][0][first][column], one[first][column], rtol=1e-9, err_msg=column)


@pytest.mark.slow
def test_one_rank_alone_records_its_own(out: Path) -> None:
    layers, *_ = pd.read_pickle(out / "alone.pkl")
    assert (layers["batch"].dropna() == 4).all()


@pytest.mark.slow
def test_recording_sharded_parameters_changes_nothing(out: Path) -> None:
    for rank in range(RANKS):
        recorded, plain = torch.load(out / f"fsdp-{rank}.pt"), torch.load(out / f"plain-{rank}.pt")
        assert all(torch.equal(value, plain[name]) for name, value in recorded.items())


@pytest.mark.slow
def test_the_first_rank_writes(out: Path) -> None:
    assert (out / "folder" / "layers.csv").exists()


@pytest.mark.parametrize(
    "mark, engine", [("ds_id", "DeepSpeed"), ("main_grad", "Megatron"), ("", "zero_grad")]
)
def test_gradients_that_an_engine_keeps_elsewhere_are_said(mark: str, engine: str) -> None:
    model = nn.Linear(3, 2)
    for parameter in model.parameters() if mark else ():
        setattr(parameter, mark, torch.zeros(2))
    with Recorder(model) as recorder:
        model(torch.ones(4, 3)).sum().backward()
        model.zero_grad()
        model(torch.ones(4, 3)).sum().backward(inputs=[*model.parameters()])
        for parameter in model.parameters():
            parameter.grad = None
        with pytest.warns(UserWarning, match=engine):
            recorder.step()
    assert recorder.to_frame()["weight_grad_norm"].isna().all()
