"""One entry says everything: the configuration, its help and its schema, and the facts that others ask for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from reference import stacks

from gradlab import activations
from gradlab.base.errors import ConfigError
from gradlab.cli.main import load
from gradlab.config import KEYS, schema, starter
from gradlab.config.keys import PARTS
from gradlab.nn.mlp import build_mlp
from gradlab.parts import inits, norms, record_schedule, residuals
from gradlab.parts.optimizers import OPTIMIZERS
from gradlab.parts.registries import REGISTRIES
from gradlab.train.loop import Training


def test_every_key_of_text_that_names_a_part_is_known() -> None:
    assert set(PARTS.values()) == set(REGISTRIES)
    for path, key in KEYS.items():
        assert bool(key.parts) == (path in PARTS)


@pytest.mark.parametrize("path", PARTS)
def test_the_names_are_in_the_help_or_listed_and_in_the_schema_and_the_starter(path: str) -> None:
    key, names = KEYS[path], list(REGISTRIES[PARTS[path]]())
    options = {option: parameter for parameter in load("run").params for option in parameter.opts}
    told = options[key.option].help
    assert f"gradlab list {PARTS[path]}" in told or all(name in told for name in names)
    document = schema()
    assert document["$defs"][key.section.capitalize()]["properties"][key.name]["examples"] == names
    if key.takes_list:
        assert document["properties"]["grid"]["properties"][key.flag]["items"]["examples"] == names
    assert f"gradlab list {PARTS[path]}" in starter() or ", ".join(names) in starter()


@pytest.mark.parametrize("path", [path for path in PARTS if path not in ("data.name", "recording.record")])
def test_a_name_that_is_none_is_one_error_everywhere(path: str) -> None:
    registry = REGISTRIES[PARTS[path]]()
    name = next(iter(registry))
    with pytest.raises(ConfigError) as caught:
        registry.choose(f"{name}q", "--flag")
    assert f"--flag: unknown {registry.kind} '{name}q'; allowed: {registry.allowed}" in str(caught.value)
    assert f"did you mean {name!r}?" in str(caught.value)
    assert ("package.module:Attr" in registry.allowed) == registry.own


@pytest.mark.parametrize("text", ["every:N", "every:0", "every", "every:-3", "all:2", "sometimes", "Off"])
def test_what_is_no_record_schedule(text: str) -> None:
    with pytest.raises(ConfigError, match="unknown record schedule"):
        record_schedule.parse(text)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_what_an_optimiser_keeps_is_its_state(name: str) -> None:
    """Loaded into a fresh one, it goes on with the same bits; of a weight's size there are `state` tensors, and one
    more under RMSprop with momentum."""
    flags = {"optimizer": name, "steps": 6, "dtype": "float32"}
    stack = stacks.make_stack(**flags)
    one, other = (Training(stack, stack.cell.dataset()) for _ in range(2))
    gradients = [torch.randn_like(parameter) for parameter in one.parameters]
    for _ in range(3):
        one.optimizer.step([g.clone() for g in gradients], 0.1)
    kept = one.optimizer.state()
    shape = one.parameters[0].shape
    assert sum(tensor.shape == shape for tensor in kept.values()) == OPTIMIZERS[name].state * sum(
        parameter.shape == shape for parameter in one.parameters
    )
    other.mlp.load_state_dict(one.mlp.state_dict())
    other.optimizer.load_state({key: tensor.clone() for key, tensor in kept.items()})
    for training in (one, other):
        training.optimizer.step([g.clone() for g in gradients], 0.1)
    for a, b in zip(one.parameters, other.parameters, strict=True):
        assert torch.equal(a, b)


def test_closed_branches_are_those_that_give_nothing_at_birth() -> None:
    relu = activations.get("relu")
    for name, scheme in residuals.RESIDUALS.items():
        residual = residuals.get(name, 5)
        mlp = build_mlp(
            activation=relu, init=inits.get("he", relu), norm=norms.get("none"), residual=residual,
            depth=5, width=6, features=6, outputs=6, seeds=(0,),
        )  # fmt: skip
        streams = []
        h, stream = torch.rand(1, 4, 6), None
        for layer in mlp.layers:
            h, stream = layer(h, stream)
            if layer.skip.ends or layer.skip.stem:
                streams.append(stream)
        still = name != "none" and all(torch.equal(each, streams[0]) for each in streams)
        assert scheme.closed == still, name
        assert scheme.summed == (name in ("pre", "scaled", "skipinit", "fixup"))


def test_a_scheme_that_grows_doubles_the_variance_of_the_stream() -> None:
    assert {name for name, scheme in residuals.RESIDUALS.items() if scheme.grows} == {"post", "pre"}


def test_a_users_batch_norm_needs_two_samples_as_gradlabs_does(tmp_path: Path) -> None:
    for norm, says in (
        ("batch", "batch norm needs two samples or more"),
        ("torch.nn:BatchNorm1d", "Expected more than 1 value per channel"),
    ):
        with pytest.raises(ValueError, match=says):
            stacks.make_stack(norm=norm, batch_size=1)


def test_adams_usual_rate_is_its_authors() -> None:
    """Kingma & Ba 2015, algorithm 1, and Loshchilov & Hutter 2019: 0.001."""
    assert OPTIMIZERS["adam"].usual_rate == OPTIMIZERS["adamw"].usual_rate == 0.001
