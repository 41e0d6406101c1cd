"""The gradient on its way down from one z to the z below, where a stack's pass goes through modules and autograd.

Between two linear maps lie an activation, a norm before or behind it, and what a residual scheme adds. Hooks keep the
gradient at each of these points: of a tensor where one thing alone takes it, and a linear map's own share in its input
where a skip connection takes that too. They add no node to the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from gradlab.nn.mlp import StackedMLP

Point = Literal["map", "h", "phi", "input of phi", "input of the norm", "z"]
"""Where the gradient is looked at, top down: at a linear map's input, its own share; at the layer's h; at phi's output,
below a norm behind it; at phi's input, above a norm before it; at what that norm takes, without the share of the
stream; and at z."""
Timed = Callable[[Callable[..., None]], Callable[..., None]]

H_OF_A_MAP = 1  # the place of h among the operands of a linear map's node: bias, h, weight


class WayDown:
    """The gradients of one pass between each hidden layer's z and that of the layer above.

    way: what changes the gradient in every hidden layer, top down, each by its column and the point behind it
    """

    def __init__(self, mlp: StackedMLP) -> None:
        self._layers = mlp.layers
        scheme = self._layers[0].skip.scheme if self._layers else None
        before = any(not isinstance(layer.norm_before, nn.Identity) for layer in self._layers)
        behind = any(not isinstance(layer.norm_after, nn.Identity) for layer in self._layers)
        # The stream is summed either in front of phi and its norm, or behind them.
        in_front = scheme is not None and scheme.summed
        way: list[tuple[str, Point]] = [("weight_gain", "map")]
        if scheme is not None and not (scheme.none or in_front):
            way.append(("other_gain", "h"))
        if behind:
            way.append(("norm_gain", "phi"))
        last: Point = "input of the norm" if in_front else "z"
        way.append(("slope_gain", "input of phi" if before else last))
        if before:
            way.append(("norm_gain", last))
        if in_front:
            way.append(("other_gain", "z"))
        self.way: Sequence[tuple[str, Point]] = way
        self._in_front = in_front
        self._points = {point for _, point in way}
        self._kept: dict[Point, dict[int, Tensor]] = {}

    @contextmanager
    def watching(self, timed: Timed) -> Iterator[None]:
        """Around a forward and backward pass. timed: wraps every hook."""
        self._kept = {point: {} for point in self._points}

        with ExitStack() as handles:
            for number, layer in enumerate(self._layers):
                for module, point in ((layer.norm_after, "h"), (layer.norm_before, "input of phi")):
                    if point in self._points:
                        hook = timed(partial(self._of_output, point, number))
                        handles.callback(module.register_forward_hook(hook).remove)
                for module, point in ((layer.norm_after, "phi"), (layer.norm_before, "input of the norm")):
                    if point in self._points:
                        hook = timed(partial(self._of_input, point, number))
                        handles.callback(module.register_forward_pre_hook(hook).remove)
            yield

    def linear(self, layer: int, z: Tensor, timed: Timed) -> None:
        """Watch the gradient that a linear map gives its input, the h of the layer below; layer: from 0."""
        if layer and z.grad_fn is not None:
            keep = partial(self._keep, "map", layer - 1)
            z.grad_fn.register_hook(timed(lambda of_operands, _: keep(of_operands[H_OF_A_MAP])))

    def taken(self, point: Point) -> list[Tensor]:
        """The gradient at a point but z, of each hidden layer."""
        found = self._kept[point]
        every = [found[layer] for layer in range(len(self._layers))]
        if point != "input of the norm" or not self._in_front:
            return every
        # Of the stream's gradient, what came down the stream itself was that of the sum above.
        sums = [n for n, layer in enumerate(self._layers) if layer.skip.stem or layer.skip.ends]
        shares = {low: every[low] - every[high] for low, high in pairwise(sums)}
        return [shares.get(layer, gradient) for layer, gradient in enumerate(every)]

    def forget(self) -> None:
        self._kept = {}

    def _of_input(self, point: Point, layer: int, module: nn.Module, args: tuple[Tensor]) -> None:
        self._watch(point, layer, args[0])

    def _of_output(self, point: Point, layer: int, module: nn.Module, args: object, output: Tensor) -> None:
        self._watch(point, layer, output)

    def _watch(self, point: Point, layer: int, tensor: Tensor) -> None:
        if tensor.requires_grad:
            tensor.register_hook(partial(self._keep, point, layer))  # type: ignore[no-untyped-call]

    def _keep(self, point: Point, layer: int, gradient: Tensor) -> None:
        self._kept[point][layer] = gradient.detach()
