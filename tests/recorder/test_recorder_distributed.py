"""DistributedDataParallel with `processes="own"`: each rank records its own batch, and the averaged gradients."""

import socket

import pytest
import torch
import torch.nn.functional as F
from torch import distributed, nn

from gradlab.recorder.recorder import Recorder

X = torch.randn(8, 6, generator=torch.Generator().manual_seed(1))
Y = torch.arange(8) % 3


def net() -> nn.Sequential:
    torch.manual_seed(4)
    return nn.Sequential(nn.Linear(6, 10), nn.BatchNorm1d(10), nn.ReLU(), nn.Linear(10, 3))


def _rank(rank: int, port: int, everywhere: bool, out: str) -> None:
    distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    model = nn.parallel.DistributedDataParallel(net())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    part = slice(4 * rank, 4 * rank + 4)

    def loop(recorder: Recorder | None) -> None:
        for _ in range(3):
            optimizer.zero_grad()
            F.cross_entropy(model(X[part]), Y[part]).backward()
            if recorder is not None:
                recorder.step(optimizer=optimizer)
            optimizer.step()

    if everywhere or rank == 0:  # one rank alone may record: a probe talks to nobody
        with Recorder(model, probe=X, schedule="all", processes="own") as recorder:
            loop(recorder)
        recorder.to_frame().to_pickle(f"{out}/{rank}.pkl")
    else:
        loop(None)
    torch.save(model.module.state_dict(), f"{out}/{rank}.pt")
    distributed.destroy_process_group()


def _launch(everywhere: bool, out: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(_rank, args=(port, everywhere, out), nprocs=2)


@pytest.mark.slow
def test_each_rank_records_its_batch_and_the_common_gradient(tmp_path) -> None:  # type: ignore[no-untyped-def]
    import pandas as pd

    for name, everywhere in (("both", True), ("one", False)):
        (tmp_path / name).mkdir()
        _launch(everywhere, str(tmp_path / name))
    ranks = [pd.read_pickle(tmp_path / "both" / f"{rank}.pkl") for rank in (0, 1)]
    first = [rows[rows["step"] == 0].set_index("name") for rows in ranks]

    gradients: dict[str, torch.Tensor] = {}
    for rank in (0, 1):
        model = net()
        made = {}
        for name in ("0", "1", "3"):
            model[int(name)].register_forward_hook(
                lambda m, a, z, name=name, made=made: (z.retain_grad(), made.update({name: z}))[1]
            )
        part = slice(4 * rank, 4 * rank + 4)
        F.cross_entropy(model(X[part]), Y[part]).backward()
        for name, z in made.items():
            expected = float((4 * z.grad).double().square().mean().sqrt())
            assert first[rank].loc[name, "delta_rms"] == pytest.approx(expected, rel=1e-5)
            gradients[name] = gradients.get(name, 0) + model[int(name)].weight.grad / 2
    for name, gradient in gradients.items():
        for rows in first:
            assert rows.loc[name, "weight_grad_norm"] == pytest.approx(float(gradient.norm()), rel=1e-5)
    assert (first[0]["batch"] == 4).all()

    alone = pd.read_pickle(tmp_path / "one" / "0.pkl")
    pd.testing.assert_frame_equal(alone, ranks[0])
    weights = [torch.load(tmp_path / where / f"{rank}.pt") for where in ("both", "one") for rank in (0, 1)]
    for other in weights[2:]:
        for key, value in weights[0].items():
            if "running" not in key:
                assert torch.equal(value, other[key])
