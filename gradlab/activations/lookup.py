"""From an item's text to an Activation with its parameters bound."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from gradlab.activations.custom import load_custom
from gradlab.activations.registry import REGISTRY
from gradlab.activations.shaping import Unreachable
from gradlab.activations.spec import USUAL_INIT, Activation, Definition
from gradlab.base.errors import ConfigError, Problem
from gradlab.base.grammar import Item, Value, parse_item
from gradlab.base.registry import Chosen


def names() -> list[str]:
    """The registered names, in the registry's order."""
    return list(REGISTRY)


def get(text: str, where: str = "activation", *, own: bool = False) -> Activation:
    """The activation written as `text`.

    `dks:NAME` and `tat:NAME` are short for `dks:phi=NAME` and `tat:phi=NAME`.

    where: what to call the place in an error, such as `--activation`
    own:   whether it may be a user's own, which is then imported

    Raises ConfigError for an unknown name, an
    unknown or out-of-range parameter, or a user's own that cannot be imported or is no function of a tensor.
    """
    item = parse_item(text, where)
    if item.attribute is not None and item.name in REGISTRY and (short := REGISTRY[item.name].short):
        if short in item.given:
            raise ConfigError(
                Problem(
                    where,
                    f"{short!r} is given twice in {text!r}",
                    f"one of {item.name}:NAME and {short}=NAME",
                )
            )
        item = Item(item.name, given={short: item.attribute, **item.given})
    if own and item.attribute is not None:
        return load_custom(item, where)
    chosen = REGISTRY.choose(item, where)
    try:
        return _bound(chosen)
    except Unreachable:
        message = f"no shift and scale of {chosen.values['phi']} make {chosen.text}"
        raise ConfigError(Problem(where, message, "a larger depth, or a smaller zeta, eta or tau")) from None


def registered(text: str) -> Activation | None:
    """The activation of the registry that a table names; None for anything else, which is not imported."""
    try:
        return get(text)
    except ConfigError:
        return None


def _bound(chosen: Chosen[Definition]) -> Activation:
    definition, values = chosen.entry, chosen.values
    phi, slope, slope_sup, kernel = (
        definition.phi,
        definition.slope,
        definition.slope_sup,
        definition.kernel,
    )
    return Activation(
        text=chosen.text,
        name=chosen.name,
        family=definition.family,
        summary=definition.summary,
        parameters=values,
        phi=None if phi is None else lambda z: phi(z, values),
        slope=None if slope is None else lambda z: slope(z, values),
        slope_sup=None if slope_sup is None else slope_sup(values),
        kinks=definition.kinks(values),
        flats=definition.flats(values),
        pieces=definition.pieces(values),
        usual_init=definition.usual_init or USUAL_INIT[definition.family],
        he_slope=definition.he_slope(values),
        kernel=None if kernel is None else partial(_load_kernel, definition, values),
        build=partial(_build_prelu, values) if definition.learned else None,
        learned=definition.learned,
    )


def _load_kernel(definition: Definition, values: Mapping[str, Value]):  # type: ignore[no-untyped-def]
    import torch

    assert definition.kernel is not None
    return definition.kernel(torch, values)


def _build_prelu(values: Mapping[str, Value], replicas: int, width: int, seeds: tuple[int, ...]):  # type: ignore[no-untyped-def]
    from gradlab.activations.modules import StackedPReLU

    return StackedPReLU(replicas, width if values["per"] == "unit" else 1, float(values["init"]))
