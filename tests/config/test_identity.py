"""A cell's identity covers what determines its numbers, and nothing else: what differs from the defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sweep.small_plans import plan_of

from gradlab.base.identity import identity_of
from gradlab.config.plan import cell_id
from gradlab.config.sections import Network, Recording, Section, Training


def identity(network: Section, training: Section, sources: dict[str, str] | None = None) -> str:
    return cell_id(network, training, "digest", "float32", "cpu", sources or {})


class WiderNetwork(Network):
    dropout: float = 0.0


class LongerTraining(Training):
    patience: int | None = None


class FullerRecording(Recording):
    spectra: bool = False


NETWORK: dict[str, Any] = {"activation": "relu", "depth": 3}
TRAINING: dict[str, Any] = {"lr": 0.1}


def test_a_key_more_with_a_default_changes_no_identity() -> None:
    before = identity(Network(**NETWORK), Training(**TRAINING))
    assert identity(WiderNetwork(**NETWORK), LongerTraining(**TRAINING)) == before
    assert identity(WiderNetwork(**NETWORK, dropout=0.1), Training(**TRAINING)) != before
    assert identity(Network(**NETWORK), LongerTraining(**TRAINING, patience=3)) != before
    asked = Recording(metrics="full").differing()
    assert FullerRecording(metrics="full").differing() == asked != FullerRecording(spectra=True).differing()


def test_a_value_at_its_default_is_the_value_left_out() -> None:
    assert identity(Network(depth=20), Training(lr=0.03)) == identity(Network(), Training())


CHANGES: dict[str, Any] = {
    "activation": "tanh", "depth": 4, "width": 65, "init": "he", "norm": "layer", "residual": "pre",
    "optimizer": "adam", "lr": 0.2, "schedule": "cosine", "momentum": 0.5, "weight_decay": 0.1, "clip": 1.0,
    "loss": "mse", "batch_size": 32, "steps": 7, "stack_size": 2,
}  # fmt: skip


def test_every_value_counts() -> None:
    assert set(CHANGES) == {*Network.model_fields, *Training.model_fields}, "a new key needs a line above"
    found = {identity(Network(**NETWORK), Training(**TRAINING))}
    for name, value in CHANGES.items():
        network = NETWORK | ({name: value} if name in Network.model_fields else {})
        training = TRAINING | ({name: value} if name in Training.model_fields else {})
        found.add(identity(Network(**network), Training(**training)))
    assert len(found) == len(CHANGES) + 1


def test_the_rest_of_what_determines_the_numbers_counts() -> None:
    sections = Network(**NETWORK), Training(**TRAINING)
    usual: tuple[Any, ...] = ("digest", "float32", "cpu", {})
    found = {cell_id(*sections, *usual)}
    for place, value in enumerate(("other", "float64", "cuda", {"network.norm": "source"})):
        found.add(cell_id(*sections, *usual[:place], value, *usual[place + 1 :]))
    assert len(found) == 5


def test_texts_that_mean_the_same_are_the_same_cell(tmp_path: Path) -> None:
    def cells(**flags: Any) -> list[str]:
        return [cell.id for cell in plan_of(tmp_path / "out", depth=[2], **flags).cells]

    assert cells(activation=["leaky_relu:negative_slope=0.010"]) == cells(activation=["leaky_relu"])
    assert cells(schedule="cosine:warmup=0") == cells(schedule="cosine") != cells(schedule="cosine:warmup=1")


@pytest.mark.parametrize("flag", ["record", "probe", "eval_rows", "metrics", "jacobian", "sharpness"])
def test_what_is_recorded_is_part_of_the_folder_and_not_of_the_cell(flag: str, tmp_path: Path) -> None:
    value = {"record": "all", "probe": "16", "eval_rows": "16", "metrics": "full"}.get(flag, True)
    one, other = plan_of(tmp_path / "out"), plan_of(tmp_path / "out", **{flag: value})
    assert one.id != other.id and [cell.id for cell in one.cells] == [cell.id for cell in other.cells]


def test_an_identity_is_of_the_value_and_not_of_its_order() -> None:
    assert (
        identity_of({"a": 1, "b": [2]}) == identity_of({"b": [2], "a": 1}) != identity_of({"a": 1, "b": [3]})
    )
