"""Remedies: changes that the configuration and its components accept, and that change something."""

import pytest

from gradlab import activations
from gradlab.analyse.advice import advice_for, remedies
from gradlab.analyse.verdict import no_remedies
from gradlab.analyse.verdicts import VERDICTS
from gradlab.config.sections import Network, Training
from gradlab.parts import inits, norms, residuals

NETS = [
    Network(activation="sigmoid", depth=20),
    Network(activation="relu", depth=50, init="torch"),
    Network(activation="relu", depth=15, width=3),
    Network(activation="tanh", depth=50, init="gaussian:sigma_w=3"),
    Network(activation="softmax", depth=2, norm="batch"),
    Network(activation="selu", depth=1, residual="none"),
]


@pytest.mark.parametrize(
    "verdict", [name for name, each in VERDICTS.items() if each.remedies is not no_remedies]
)
@pytest.mark.parametrize("network", NETS, ids=lambda n: f"{n.activation}-{n.depth}")
@pytest.mark.parametrize("training", [Training(), Training(lr=5.0), Training(optimizer="adam", lr=1e-6)])
def test_every_remedy_is_a_configuration_and_changes_it(
    verdict: str, network: Network, training: Training
) -> None:
    found = remedies([verdict], network, training)
    assert found
    seen = []
    for remedy in found:
        assert remedy.reason and remedy.source and remedy.changes not in seen
        seen.append(remedy.changes)
        sections: dict[str, dict[str, object]] = {"network": {}, "training": {}}
        for key, value in remedy.changes.items():
            section, _, name = key.partition(".")
            sections[section][name] = value
        changed = Network.model_validate({**network.model_dump(), **sections["network"]})
        trained = Training.model_validate({**training.model_dump(), **sections["training"]})
        assert (changed, trained) != (network, training)
        activation = activations.get(changed.activation)
        inits.get(changed.init, activation)
        norms.get(changed.norm)
        residuals.get(changed.residual, changed.depth)


def test_the_first_cause_is_treated_first_and_nothing_twice() -> None:
    network, training = Network(activation="tanh", depth=50, init="gaussian:sigma_w=3"), Training()
    both = remedies(["exploding", "diverged"], network, training)
    assert both[0] == remedies(["exploding"], network, training)[0]
    texts = [str(remedy.changes) for remedy in both]
    assert len(texts) == len(set(texts))
    assert any("training.lr" in remedy.changes for remedy in both)


def test_an_initialiser_that_draws_the_same_is_no_remedy() -> None:
    for remedy in remedies(["vanishing"], Network(activation="relu", init="he", depth=20), Training()):
        assert set(remedy.changes) != {"network.init"}, "auto is He's for ReLU"


def test_a_rate_goes_along_and_is_no_remedy_of_its_own() -> None:
    for remedy in remedies(["exploding"], Network(activation="relu", depth=50), Training(lr=1.0)):
        assert set(remedy.changes) != {"training.lr"}


def test_a_sum_that_doubles_the_variance_is_scaled_and_a_scaled_one_is_left() -> None:
    for residual in ("post", "pre:block=2"):
        network = Network(activation="relu", depth=21, residual=residual)
        assert remedies(["exploding"], network, Training())[0].changes["network.residual"] == "scaled"
    scaled = Network(activation="relu", depth=21, residual="scaled")
    for verdict in VERDICTS:
        for remedy in remedies([verdict], scaled, Training()):
            assert "network.residual" not in remedy.changes


def test_the_edge_of_chaos_is_where_the_slope_at_0_says() -> None:
    for name in ("tanh", "hard_tanh", "softsign", "erf"):
        activation = activations.get(name)
        network = Network(activation=name, depth=20, init="gaussian:sigma_w=3")
        (init,) = remedies(["exploding"], network, Training())[0].changes.values()
        sigma_w = inits.get(str(init), activation).sigma_w
        assert sigma_w is not None
        slope = (activation.phi(1e-6) - activation.phi(-1e-6)) / 2e-6
        assert sigma_w(64, 64) * slope == pytest.approx(1, rel=1e-4)


def test_advice_goes_by_the_sections_where_they_are_known_and_else_by_the_columns() -> None:
    """No column tells that gradients are clipped."""
    network, training = Network(activation="relu", depth=21, residual="scaled"), Training(clip=1.0)
    cell = {"activation": "relu", "depth": 21, "residual": "scaled", "init": "auto"}
    assert advice_for(["exploding"], cell).startswith("try --clip 1: ")
    assert advice_for(["exploding"], cell, (network, training)).startswith(
        "try --activation selu --init lecun: "
    )


def test_advice_is_one_sentence_with_flags_and_none_for_the_healthy() -> None:
    cell = {"activation": "relu", "depth": 10, "init": "torch", "optimizer": "sgd", "lr": 0.03}
    assert advice_for(["vanishing"], cell).startswith("try --init auto: ")
    assert advice_for([], cell) == "" == advice_for(["healthy"], cell)
    assert advice_for(["diverged"], {"lr": 5.0, "optimizer": "sgd"}).startswith("try --lr 0.03: ")
    assert advice_for(["diverged"], {"lr": 0.2, "optimizer": "sgd"}).startswith("try --lr 0.02: ")
    assert advice_for(["dead"], {"activation": "my.module:Own", "depth": float("nan"), "model": "net"})
