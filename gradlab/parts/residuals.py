"""Residual schemes: what each is, which layers end a block, and how its weights start; free of torch.

Hidden layer 1 is the stem (its width differs from the input's), layers 2 ... depth form blocks of `block` layers.
"""

from __future__ import annotations

from dataclasses import dataclass

from gradlab.base.errors import ConfigError, Problem, nearest
from gradlab.base.grammar import Parameter, bind, parse_item, write_item


def _block(default: int) -> dict[str, Parameter]:
    return {"block": Parameter(default=default, low=1, integer=True, meaning="hidden layers in a block")}


RESIDUALS: dict[str, tuple[str, dict[str, Parameter]]] = {
    "none": ("no skip connections", {}),
    "post": ("phi(x + F(x)): the activation after the addition (He et al. 2016a)", _block(1)),
    "pre": ("x + F(x), F = W phi(norm(x)): an identity path from end to end (He et al. 2016b)", _block(1)),
    "scaled": ("pre with every branch divided by sqrt(blocks) (Hayou et al. 2021)", _block(1)),
    "rezero": ("x + a F(x), F = phi(W x), a learned from 0 (Bachlechner et al. 2020)", _block(1)),
    "skipinit": ("pre with a learned factor from 0 on every branch (De & Smith 2020)", _block(1)),
    "fixup": (
        "pre, the last layer of a branch 0, the others times blocks^(-1/(2 block - 2)), scalar biases and a "
        "multiplier (Zhang, Dauphin & Ma 2019)",
        _block(2),
    ),
}


CLOSED = ("rezero", "skipinit", "fixup")
"""Schemes whose branches give 0 until training opens them: at birth no delta comes into a branch."""


@dataclass(frozen=True, kw_only=True)
class Residual:
    """A residual scheme with its block length, in hidden layers."""

    text: str
    name: str
    block: int = 1

    def blocks(self, depth: int) -> int:
        """Number of residual blocks in a net of `depth` hidden layers."""
        return 0 if self.name == "none" else (depth - 1) // self.block

    def ends_block(self, layer: int) -> bool:
        """Whether hidden layer `layer` (from 1) is the last of a block; the stem is in none."""
        return self.name != "none" and layer > 1 and (layer - 1) % self.block == 0

    def branch_factor(self, depth: int) -> float:
        """What a branch is multiplied by at the start, before it meets the stream."""
        if self.name in ("rezero", "skipinit"):
            return 0.0
        return float(self.blocks(depth) ** -0.5) if self.name == "scaled" else 1.0

    def weight_factor(self, layer: int, depth: int) -> float:
        """What the drawn weights of a hidden layer are multiplied by: 1 but for Fixup's branches."""
        if self.name != "fixup" or layer == 1:
            return 1.0
        if self.ends_block(layer):
            return 0.0
        return float(self.blocks(depth) ** (-1 / (2 * self.block - 2)))


def get(text: str, depth: int, where: str = "residual") -> Residual:
    """The scheme written as `text` for a net of `depth` hidden layers. Raises ConfigError naming `where`."""
    item = parse_item(text, where)
    if item.name not in RESIDUALS or item.attribute is not None:
        known = list(RESIDUALS)
        raise ConfigError(
            Problem(where, f"unknown residual {item.name!r}", ", ".join(known), nearest(item.name, known))
        )
    _, parameters = RESIDUALS[item.name]
    values = bind(item.given, parameters, item.name, where)
    block = int(values.get("block", 1))
    if item.name == "fixup" and block < 2:
        raise ConfigError(
            Problem(where, "fixup needs two layers or more in a block", "fixup:block=2 or more")
        )
    if item.name != "none" and (depth < 2 or (depth - 1) % block):
        raise ConfigError(
            Problem(
                where,
                f"{text} does not divide depth {depth}: layer 1 is the stem, the other {depth - 1} form blocks",
                f"a depth of 1 + a multiple of {block}",
            )
        )
    return Residual(text=write_item(item.name, values, parameters), name=item.name, block=block)
