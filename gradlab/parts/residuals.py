"""Residual schemes: what each is, which layers end a block, how its weights start and how a layer meets the stream.

Hidden layer 1 is the stem (its width differs from the input's), layers 2 ... depth form blocks of `block` layers.
z, h and the stream are [replica, batch, unit]; the stream is None until the stem has set it. Free of torch: the
moments of a scheme are tensor arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar, Protocol

from gradlab.base.errors import ConfigError, Problem
from gradlab.base.grammar import Parameter, parse_item
from gradlab.base.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

    from gradlab.theory import Skip

    Pair = tuple[Tensor, Tensor | None]


def _block(least: int = 1) -> dict[str, Parameter]:
    return {"block": Parameter(default=least, low=least, integer=True, meaning="hidden layers in a block")}


class Place(Protocol):
    """Where in the net a layer is, and the scalars that the scheme learns there, [replica, 1, 1], by their names.

    stem: whether it is layer 1; ends: whether it is the last of a block
    """

    stem: bool
    ends: bool

    def __getattr__(self, name: str) -> Tensor: ...


class Residual:
    """A scheme in a net of `depth` hidden layers with blocks of `block`; this one is no skip connection at all.

    A layer goes through three moments: `enter` on the way into its linear map, `before` between that and the
    activation, with the norm where that comes before phi, `after` behind the activation.

    closed: its branches give 0 until training opens them: at birth no delta comes into a branch
    grows:  its sum x + F(x) doubles the signal's variance, and the gradient's, at every block
    summed: its stream is a sum of linear maps' outputs, before any norm and activation
    theory: what `gradlab.theory` calls it; None where it makes no prediction
    """

    summary: ClassVar[str] = "no skip connections"
    parameters: ClassVar[Mapping[str, Parameter]] = {}
    closed: ClassVar[bool] = False
    grows: ClassVar[bool] = False
    summed: ClassVar[bool] = False
    theory: ClassVar[Skip | None] = "none"

    def __init__(self, text: str, depth: int, block: int = 0) -> None:
        self.text, self.depth, self.block = text, depth, block

    @property
    def none(self) -> bool:
        return self.block == 0

    @property
    def blocks(self) -> int:
        """Number of residual blocks."""
        return 0 if self.none else (self.depth - 1) // self.block

    @property
    def branch_factor(self) -> float:
        """What a branch is multiplied by at the start, before it meets the stream."""
        return 0.0 if self.closed else 1.0

    def ends_block(self, layer: int) -> bool:
        """Whether hidden layer `layer` (from 1) is the last of a block; the stem is in none."""
        return not self.none and layer > 1 and (layer - 1) % self.block == 0

    def weight_factor(self, layer: int) -> float:
        """What the drawn weights of a hidden layer are multiplied by."""
        return 1.0

    def learned(self, layer: int) -> dict[str, float]:
        """The scalars that a hidden layer learns for each replica, and where they start."""
        return {}

    def enter(self, place: Place, h: Tensor) -> Tensor:
        return h

    def before(
        self, place: Place, z: Tensor, stream: Tensor | None, norm: Callable[[Tensor], Tensor]
    ) -> Pair:
        return norm(z), stream

    def after(self, place: Place, h: Tensor, stream: Tensor | None) -> Pair:
        return h, stream


class Post(Residual):
    """phi(x + norm(F(x))), the stream is what left the last block."""

    summary = "phi(x + F(x)): the activation after the addition (He et al. 2016a)"
    parameters = _block()
    grows = True
    theory = None

    def before(
        self, place: Place, z: Tensor, stream: Tensor | None, norm: Callable[[Tensor], Tensor]
    ) -> Pair:
        z = norm(z)
        return (z + stream if place.ends and stream is not None else z), stream

    def after(self, place: Place, h: Tensor, stream: Tensor | None) -> Pair:
        return h, (h if place.stem or place.ends else stream)


class Pre(Residual):
    """x + F(x) before norm and activation."""

    summary = "x + F(x), F = W phi(norm(x)): an identity path from end to end (He et al. 2016b)"
    parameters = _block()
    grows = True
    summed = True
    theory = "sum"

    def branch(self, place: Place, z: Tensor) -> Tensor:
        """What a block adds to the stream, from its last layer's z."""
        return z

    def before(
        self, place: Place, z: Tensor, stream: Tensor | None, norm: Callable[[Tensor], Tensor]
    ) -> Pair:
        if place.stem:
            return norm(z), z
        if place.ends:
            assert stream is not None
            stream = stream + self.branch(place, z)
            return norm(stream), stream
        return norm(z), stream


class Scaled(Pre):
    summary = "pre with every branch divided by sqrt(blocks) (Hayou et al. 2021)"
    grows = False

    @property
    def branch_factor(self) -> float:
        return float(self.blocks**-0.5)

    def branch(self, place: Place, z: Tensor) -> Tensor:
        factor = self.branch_factor
        return z if factor == 1.0 else z * factor


class SkipInit(Pre):
    summary = "pre with a learned factor from 0 on every branch (De & Smith 2020)"
    closed = True
    grows = False

    def learned(self, layer: int) -> dict[str, float]:
        return {"scale": 0.0} if self.ends_block(layer) else {}

    def branch(self, place: Place, z: Tensor) -> Tensor:
        return z * place.scale


class Fixup(SkipInit):
    """Its last layers' weights are 0, so its branches are closed although their learned factors start at 1."""

    summary = (
        "pre, the last layer of a branch 0, the others times blocks^(-1/(2 block - 2)), scalar biases and a "
        "multiplier (Zhang, Dauphin & Ma 2019)"
    )
    parameters = _block(2)

    @property
    def branch_factor(self) -> float:
        return 1.0

    def weight_factor(self, layer: int) -> float:
        if layer == 1:
            return 1.0
        return 0.0 if self.ends_block(layer) else float(self.blocks ** (-1 / (2 * self.block - 2)))

    def learned(self, layer: int) -> dict[str, float]:
        scale = {"scale": 1.0} if self.ends_block(layer) else {}
        return scale if layer == 1 else {**scale, "offset": 0.0}

    def enter(self, place: Place, h: Tensor) -> Tensor:
        return h if place.stem else h + place.offset


class ReZero(Residual):
    """x + a F(x) behind the activation."""

    summary = "x + a F(x), F = phi(W x), a learned from 0 (Bachlechner et al. 2020)"
    parameters = _block()
    closed = True
    theory = "rezero"

    def learned(self, layer: int) -> dict[str, float]:
        return {"scale": 0.0} if self.ends_block(layer) else {}

    def after(self, place: Place, h: Tensor, stream: Tensor | None) -> Pair:
        if place.ends:
            assert stream is not None
            h = stream + place.scale * h
        return h, (h if place.stem or place.ends else stream)


RESIDUALS: Registry[type[Residual]] = Registry(
    "residual scheme",
    {
        "none": Residual,
        "post": Post,
        "pre": Pre,
        "scaled": Scaled,
        "rezero": ReZero,
        "skipinit": SkipInit,
        "fixup": Fixup,
    },
)


def get(text: str, depth: int, where: str = "residual") -> Residual:
    """The scheme written as `text` for a net of `depth` hidden layers. Raises ConfigError naming `where`."""
    chosen = RESIDUALS.choose(parse_item(text, where), where)
    block = int(chosen.values.get("block", 0))
    if block and (depth < 2 or (depth - 1) % block):
        raise ConfigError(
            Problem(
                where,
                f"{text} does not divide depth {depth}: layer 1 is the stem, the other {depth - 1} form blocks",
                f"a depth of 1 + a multiple of {block}",
            )
        )
    return chosen.entry(chosen.text, depth, block)
