"""Lightning's callback, in trainings by Lightning itself: what it records, what it leaves alone, how it ends."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradlab.analyse.results import diagnose_saved, read_saved
from gradlab.base.errors import ConfigError
from gradlab.recorder.recorder import Recorder

lightning = pytest.importorskip("lightning", reason="needs the extra `lightning`")
from lightning.pytorch.plugins import MixedPrecision  # noqa: E402

from gradlab.integrations.lightning import RecorderCallback  # noqa: E402

pytestmark = pytest.mark.slow

X = torch.randn(12, 8, generator=torch.Generator().manual_seed(7))
Y = torch.arange(12) % 4
NEW_HERE = [
    "deaths",
    "revivals",
    "carried_gradients",
]  # told from the record before, which a new process has not


class Net(lightning.LightningModule):
    """A net with dropout; `losses` has each step's parts: (global_step, loss)."""

    def __init__(self, dropout: float = 0.0, fails_at: int | None = None, error: Any = None) -> None:
        super().__init__()
        torch.manual_seed(2)
        parts = (nn.Linear(8, 16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 4))
        self.net = nn.Sequential(*parts)
        self.losses: list[tuple[int, float]] = []
        self.validated: list[tuple[int, float]] = []
        self.fails_at, self.error = fails_at, error

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def training_step(self, batch: list[Tensor], index: int) -> Any:
        if self.global_step == self.fails_at:
            raise self.error
        loss = F.cross_entropy(self(batch[0]), batch[1])
        self.losses.append((self.global_step, loss.item()))
        return {"loss": loss, "more": index}

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


class Validated(Net):
    def validation_step(self, batch: list[Tensor], index: int) -> None:
        loss = F.cross_entropy(self(batch[0]), batch[1])
        self.log("val_loss", loss)
        self.validated.append((self.global_step, loss.item()))


class LBFGS(Net):
    def configure_optimizers(self) -> Any:
        return torch.optim.LBFGS(self.parameters(), lr=0.1, max_iter=3)


class Adversaries(lightning.LightningModule):
    """Two optimisers, each with a loss of its own; parts of the module are called one by one."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        torch.manual_seed(3)
        self.one = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
        self.two = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 1))
        self.losses: list[tuple[int, float]] = []

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.one(x))

    def training_step(self, batch: list[Tensor], index: int) -> None:
        for which, optimizer in enumerate(self.optimizers()):
            sign = 1 if which else -1
            loss = F.softplus(sign * self.two[1](F.relu(self.two[0](torch.tanh(self.one(batch[0]))))))
            loss = loss.mean() + which
            self.losses.append((self.global_step, loss.item()))
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.one.parameters(), lr=0.1), torch.optim.Adam(self.two.parameters())


def loader(shuffle: bool = False) -> Any:
    data = torch.utils.data.TensorDataset(X, Y)
    order = torch.Generator().manual_seed(5)
    return torch.utils.data.DataLoader(data, batch_size=4, shuffle=shuffle, generator=order)


def trainer(*callbacks: Any, **settings: Any) -> Any:
    quiet = ("enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    common = {"logger": False, "accelerator": "cpu", "max_steps": 7, "limit_val_batches": 0}
    return lightning.Trainer(callbacks=[*callbacks], **(dict.fromkeys(quiet, False) | common | settings))


def weights(module: nn.Module) -> Tensor:
    return torch.cat([each.detach().ravel() for each in module.parameters()])


def steps_of(recorder: Recorder) -> pd.DataFrame:
    return recorder.steps_table().frame().set_index("step")


def hooks(module: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in module.modules())


def test_every_step_has_the_loss_that_it_went_down_from() -> None:
    for accumulate in (1, 2):  # of 3 batches an epoch: the last update of each is made of one part
        callback = RecorderCallback(schedule="all", probe=X, targets=Y, criterion=F.cross_entropy)
        module = Net()
        trainer(callback, accumulate_grad_batches=accumulate).fit(module, loader())
        steps = steps_of(callback.recorder)
        parts = pd.DataFrame(module.losses, columns=["step", "loss"])
        assert (parts.groupby("step").size() == accumulate).all() == (accumulate == 1)
        expected = parts.groupby("step")["loss"].mean()
        assert [*steps.index] == [*range(7)]
        np.testing.assert_allclose(steps["train_loss"], expected, rtol=1e-6)
        assert steps["probe_loss"].notna().all() and steps["baseline_loss"].notna().all()
        assert callback.recorder.verdicts == ("undecided",)  # with a loss it is judged; seven steps are few


def test_several_optimisers_have_a_record_and_a_loss_each() -> None:
    callback = RecorderCallback(schedule="all", out=None)
    module = Adversaries()
    trainer(callback).fit(module, loader())
    steps = steps_of(callback.recorder)
    assert [*steps.index] == [*range(len(module.losses))] == [step for step, _ in module.losses]
    np.testing.assert_allclose(steps["train_loss"], [loss for _, loss in module.losses], rtol=1e-6)
    assert [*steps["optimizer_used"]] == ["SGD" if step % 2 == 0 else "Adam 2" for step in steps.index]
    rows = callback.recorder.to_frame()
    own = rows["name"].str.startswith("one") == (rows["step"] % 2 == 0)
    assert rows.loc[own, "update_ratio"].notna().all() and rows.loc[~own, "update_ratio"].isna().all()
    zero = rows.pivot(index="step", columns="name", values="zero_fraction")["two.0"]
    assert (zero > 0).all()  # its relu is seen in the second step of a batch too


def test_of_two_optimisers_that_step_after_one_backward_pass_the_first_is_recorded() -> None:
    class Together(Adversaries):
        def training_step(self, batch: list[Tensor], index: int) -> None:
            one, two = self.optimizers()
            loss = self(batch[0]).square().mean()
            self.losses.append((self.global_step, loss.item()))
            for optimizer in (one, two):
                optimizer.zero_grad()
            self.manual_backward(loss)
            one.step()
            two.step()

    callback = RecorderCallback(schedule="all")
    module = Together()
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="step")
        trainer(callback, max_steps=6).fit(module, loader())
    found = steps_of(callback.recorder)["train_loss"]
    assert [*found.index] == [0, 2, 4]
    np.testing.assert_allclose(found, [loss for _, loss in module.losses], rtol=1e-6)


def test_what_follows_a_step_without_a_record_is_seen_as_the_modules_own() -> None:
    class Thrice(Adversaries):
        def training_step(self, batch: list[Tensor], index: int) -> None:
            one, two = self.optimizers()
            for together in ([one, two], [two]):
                loss = self.two[1](F.relu(self.two[0](self.one(batch[0])))).square().mean()
                for optimizer in together:
                    optimizer.zero_grad()
                self.manual_backward(loss)
                for optimizer in together:
                    optimizer.step()

    callback = RecorderCallback(schedule="all")
    trainer(callback, max_steps=6).fit(Thrice(), loader())
    rows = callback.recorder.to_frame().query("name == 'two.0'")
    assert [*rows["step"]] == [0, 2, 3, 5] and (rows["zero_fraction"] > 0).all()


@pytest.mark.parametrize("schedule", ["all", "every:3"])
@pytest.mark.parametrize("name", ["layers.csv", "records"])
def test_a_resumed_training_adds_to_its_files_what_an_uninterrupted_one_would(
    name: str, schedule: str, tmp_path: Path
) -> None:
    def settings(folder: Path) -> dict[str, Any]:
        task = {"probe": X, "targets": Y, "criterion": F.cross_entropy}
        return {"out": folder / name, "schedule": schedule, **task}

    whole, parts = tmp_path / "whole", tmp_path / "parts"
    trainer(RecorderCallback(**settings(whole)), max_steps=11).fit(Net(), loader())

    saver = lightning.pytorch.callbacks.ModelCheckpoint(
        parts, filename="at-6", every_n_train_steps=6, save_top_k=-1
    )
    first = trainer(RecorderCallback(**settings(parts)), saver, max_steps=8, enable_checkpointing=True)
    first.fit(Net(), loader())
    found = next(parts.glob("at-6*.ckpt"))
    callback = RecorderCallback(**settings(parts))
    trainer(callback, max_steps=11).fit(Net(), loader(), ckpt_path=found)

    assert callback.recorder.to_frame()["step"].min() == 6
    for file in [name] if name.endswith(".csv") else ["records/layers.csv", "records/steps.csv"]:
        expected, got = pd.read_csv(whole / file), pd.read_csv(parts / file)
        assert got["step"].unique().tolist() == ([*range(11)] if schedule == "all" else [0, 3, 6, 9, 10])
        new = [column for column in NEW_HERE if column in got]
        pd.testing.assert_frame_equal(got.drop(columns=new), expected.drop(columns=new), rtol=1e-6)
    if not name.endswith(".csv"):  # a results folder like any other
        seen = diagnose_saved(read_saved(parts / name))
        assert seen[0].verdicts == diagnose_saved(read_saved(whole / name))[0].verdicts
    elif schedule == "all":  # what was there stays letter by letter
        lines = (parts / name).read_text().splitlines()
        assert lines[: 1 + 6 * 2] == (whole / name).read_text().splitlines()[: 1 + 6 * 2]


def test_a_new_training_replaces_the_file(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "layers.csv"
    for steps in (5, 2):
        trainer(RecorderCallback(schedule="all", out=file), max_steps=steps).fit(Net(), loader())
        assert pd.read_csv(file)["step"].max() == steps - 1


def test_another_models_folder_stays_and_a_new_one_beside_it_takes_the_records(tmp_path: Path) -> None:
    folder = tmp_path / "records"
    trainer(RecorderCallback(schedule="all", out=folder)).fit(Net(), loader())
    before = (folder / "layers.csv").read_bytes()
    with pytest.warns(UserWarning, match=r"written its records to .*records-2"):
        trainer(RecorderCallback(schedule="all", out=folder)).fit(Adversaries(), loader())
    assert (folder / "layers.csv").read_bytes() == before
    assert {*pd.read_csv(tmp_path / "records-2" / "layers.csv")["name"]} == {
        "one.0",
        "one.1",
        "two.0",
        "two.1",
    }


def test_one_trainer_that_fits_again_goes_on(tmp_path: Path) -> None:
    callback = RecorderCallback(schedule="all", out=tmp_path / "layers.csv")
    trains, module = trainer(callback, max_steps=-1, max_epochs=1), Net()
    trains.fit(module, loader())
    trains.fit_loop.max_epochs = 2
    trains.fit(module, loader())
    assert pd.read_csv(tmp_path / "layers.csv")["step"].unique().tolist() == [*range(6)]


def test_a_file_with_other_columns_is_refused_before_the_training(tmp_path: Path) -> None:
    file = tmp_path / "layers.csv"
    saver = lightning.pytorch.callbacks.ModelCheckpoint(tmp_path, every_n_train_steps=2)
    first = trainer(RecorderCallback(schedule="all", out=file), saver, max_steps=2, enable_checkpointing=True)
    first.fit(Net(), loader())
    before, module = file.read_text(), Net()
    callback = RecorderCallback(schedule="all", metrics="full", out=file)
    with pytest.raises(ConfigError, match=r"other columns than these records.*h_p95_abs"):
        trainer(callback).fit(module, loader(), ckpt_path=next(tmp_path.glob("*.ckpt")))
    assert not module.losses and file.read_text() == before and not hooks(module)


def half_scaler() -> Any:
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    return {"plugins": [MixedPrecision("16-mixed", device="cpu", scaler=scaler)]}


PRECISIONS = {
    "bf16-true": lambda: {"precision": "bf16-true"},
    "64-true": lambda: {"precision": "64-true"},
    "bf16-mixed": lambda: {"precision": "bf16-mixed"},
    "16-mixed": half_scaler,
}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_probe_takes_the_modules_precision(precision: str) -> None:
    class Stateful(Net):  # makes tensors of the default format, as recurrent nets do
        def forward(self, x: Tensor) -> Tensor:
            return self.net(x + torch.zeros(8)) @ torch.eye(4, dtype=self.net[0](x).dtype)

    class Weighted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("weight", torch.tensor([1.0, 2.0, 1.0, 1.0]))

        def forward(self, outputs: Tensor, targets: dict[str, Tensor]) -> Tensor:
            assert targets["rows"].dtype == outputs.dtype and not targets["classes"].is_floating_point()
            return F.cross_entropy(outputs, targets["classes"], self.weight)

    probe, weighted = X.double() if precision == "bf16-true" else X, Weighted()
    targets = {"rows": F.one_hot(Y, 4).float(), "classes": Y}
    callback = RecorderCallback(probe=probe, targets=targets, criterion=weighted, schedule="all")
    module = Stateful()
    trainer(callback, **PRECISIONS[precision]()).fit(module, loader())
    steps, rows = steps_of(callback.recorder), callback.recorder.to_frame()
    rtol = 1e-6 if precision != "16-mixed" else 1e-3
    np.testing.assert_allclose(steps["train_loss"], [loss for _, loss in module.losses], rtol=rtol)
    assert steps["probe_loss"].between(0.5, 3).all() and rows["z_std"].notna().all()
    assert weighted.weight.dtype == torch.float32 and probe is callback.settings["probe"]
    plain = RecorderCallback(probe=X, targets=targets, criterion=weighted, schedule="all")
    trainer(plain).fit(Stateful(), loader())
    columns = ["delta_rms", "weight_grad_norm", "h_rms", "sample_correlation"]
    expected = plain.recorder.to_frame()
    np.testing.assert_allclose(rows[columns], expected[columns], rtol=0.15)  # no factor of the scaler


def test_manual_optimisation_under_autocast_records_in_full_precision() -> None:
    """The optimisers step inside the autocast there; the probe does not run in it."""
    records = []
    for settings in ({}, {"precision": "bf16-mixed"}):
        callback = RecorderCallback(probe=X, schedule="all")
        trainer(callback, max_steps=2, **settings).fit(Adversaries(), loader())
        rows = callback.recorder.to_frame().query("step == 0")  # before any update the weights are the same
        records.append(rows[["z_std", "h_rms", "sample_correlation"]].to_numpy())
    np.testing.assert_allclose(records[1], records[0], rtol=1e-6)


@pytest.mark.parametrize("kind", ["automatic", "parts", "manual", "L-BFGS", *PRECISIONS])
def test_the_weights_are_the_same_to_the_last_bit_with_and_without_it(kind: str) -> None:
    ends = []
    for watched in (False, True):
        task = {"probe": X, "targets": Y, "criterion": F.cross_entropy}
        callback = RecorderCallback(schedule="all", **({} if kind == "manual" else task))
        settings: dict[str, Any] = PRECISIONS[kind]() if kind in PRECISIONS else {}
        if kind == "parts":
            settings = {"accumulate_grad_batches": 2, "gradient_clip_val": 0.1}
        module = {"manual": Adversaries, "L-BFGS": LBFGS}.get(kind, lambda: Validated(dropout=0.5))()
        validated = {"limit_val_batches": 1.0} if isinstance(module, Validated) else {}
        data = (loader(shuffle=True), loader()) if validated else (loader(shuffle=True),)
        torch.manual_seed(11)
        trainer(*[callback] * watched, **settings, **validated).fit(module, *data)
        ends.append(weights(module))
        assert not hooks(module)
    assert torch.equal(*ends)
    assert [*steps_of(callback.recorder).index] == [*range(8 if kind == "manual" else 7)]


def test_an_optimiser_that_calls_its_closure_again_makes_one_step() -> None:
    callback, module = RecorderCallback(schedule="all"), LBFGS()
    trainer(callback, max_steps=3).fit(module, loader())
    first = pd.DataFrame(module.losses, columns=["step", "loss"]).groupby("step")["loss"]
    assert (first.size() > 1).all()
    steps = steps_of(callback.recorder)
    assert [*steps.index] == [0, 1, 2]
    np.testing.assert_allclose(steps["train_loss"], first.first(), rtol=1e-6)


@pytest.mark.parametrize("name", ["layers.csv", "records"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("out of luck")])
def test_an_interrupted_training_leaves_its_records(error: BaseException, name: str, tmp_path: Path) -> None:
    callback = RecorderCallback(schedule="all", out=tmp_path / name)
    module = Net(fails_at=3, error=error)
    with pytest.raises(SystemExit if isinstance(error, KeyboardInterrupt) else RuntimeError):
        trainer(callback).fit(module, loader())
    file = tmp_path / name if name.endswith(".csv") else tmp_path / name / "layers.csv"
    found = pd.read_csv(file)
    assert found["step"].unique().tolist() == [0, 1, 2]
    assert found["update_ratio"].notna().all()
    assert not hooks(module)


def test_a_file_that_cannot_be_written_hides_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for fails_at in (None, 3):
        callback = RecorderCallback(schedule="all", out=tmp_path / "file" / "layers.csv")
        module = Net(fails_at=fails_at, error=RuntimeError("the loop's own"))
        with pytest.warns(UserWarning, match="could not write.*still has the records"):
            if fails_at is None:
                trainer(callback).fit(module, loader())
            else:
                with pytest.raises(RuntimeError, match="the loop's own"):
                    trainer(callback).fit(module, loader())
        assert len(callback.recorder.to_frame())


def test_a_recorder_that_fails_midway_stops_and_the_training_goes_on(tmp_path: Path) -> None:
    ends = []
    for breaks in (False, True):

        class Breaks(Net):
            def forward(self, x: Tensor) -> Tensor:
                if breaks and not self.training and self.global_step == 3:  # noqa: B023
                    raise RuntimeError("no probe any more")
                return super().forward(x)

        callback = RecorderCallback(probe=X, schedule="all", out=tmp_path / "layers.csv")
        module = Breaks()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            trainer(callback).fit(module, loader())
        said = [each for each in caught if "stops recording at step 3" in str(each.message)]
        assert len(said) == breaks
        assert len(module.losses) == 7 and not hooks(module)
        assert pd.read_csv(tmp_path / "layers.csv")["step"].max() == (2 if breaks else 6)
        ends.append(weights(module))
    assert torch.equal(*ends)


def test_a_probe_that_does_not_fit_is_said_at_the_first_step() -> None:
    module = Net()
    with pytest.raises(RuntimeError, match="shapes"):
        trainer(RecorderCallback(probe=X[:, :5])).fit(module, loader())
    assert len(module.losses) == 1 and not hooks(module)


def test_the_validation_loss_stands_at_the_step_whose_weights_it_is_of() -> None:
    callback = RecorderCallback(schedule="all")
    module = Validated()
    trainer(callback, limit_val_batches=1.0, num_sanity_val_steps=1).fit(module, loader(), loader())
    after = pd.DataFrame(module.validated[1:], columns=["step", "loss"]).groupby("step")["loss"].mean()
    assert [*after.index] == [3, 6]
    found = steps_of(callback.recorder)["val_loss"].dropna()
    pd.testing.assert_series_equal(found, after, check_names=False, rtol=1e-5)


def test_a_step_without_a_loss_counts_and_has_no_record() -> None:
    class Picky(Net):
        def training_step(self, batch: list[Tensor], index: int) -> Any:
            return None if self.global_step in (0, 3) else super().training_step(batch, index)

    for schedule, expected in (("all", [1, 2, 4, 5, 6]), ("every:3", [1, 4, 6])):
        callback, module = RecorderCallback(schedule=schedule), Picky()
        trainer(callback).fit(module, loader())
        steps = steps_of(callback.recorder)
        assert [*steps.index] == expected
        losses = dict(module.losses)
        np.testing.assert_allclose(steps["train_loss"], [losses[step] for step in steps.index], rtol=1e-6)


def test_the_last_step_is_recorded_of_several_optimisers_too() -> None:
    callback = RecorderCallback(schedule="every:100")
    trainer(callback, max_steps=-1, max_epochs=2).fit(Adversaries(), loader())
    assert steps_of(callback.recorder).index[-1] == 2 * 2 * 3 - 1


def test_a_module_that_makes_every_second_update_keeps_the_numbers_of_global_step() -> None:
    class Rare(Net):
        def optimizer_step(self, epoch: int, batch: int, optimizer: Any, closure: Any = None) -> None:
            if self.global_step % 2:
                optimizer.step(closure=closure)
            else:
                closure()

    callback, module = RecorderCallback(schedule="all"), Rare()
    trainer(callback).fit(module, loader())
    steps = steps_of(callback.recorder)
    assert [*steps.index] == [1, 3, 5]
    losses = [loss for _, loss in module.losses]
    np.testing.assert_allclose(
        steps["train_loss"], np.mean([losses[0:6:2], losses[1:6:2]], axis=0), rtol=1e-6
    )
