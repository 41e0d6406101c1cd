"""The forward and backward pass of a plain stack, in buffers that are allocated once.

Autograd allocates every z, h and gradient anew in every step. At the sizes of interest (80 kB a tensor) most of the
time then goes into cache misses and page faults rather than into products. Here each layer's product, activation and
gradient has its buffer, and one pair of buffers carries delta down all layers, so that it stays in the cache.

The kernels are those that autograd runs, on the same operands in the same order: parameters after training are the
same to the last bit whichever of the two computed a step, which is why recorded steps can go through modules and
hooks and plain steps through here. Norms, skip connections, softmax and users' activations always go through autograd.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isfinite, prod
from typing import Protocol

import torch
from torch import Tensor, nn

from gradlab.activations import Activation
from gradlab.activations.kernels import Kernels, kernels_of
from gradlab.activations.modules import StackedPReLU
from gradlab.nn.mlp import StackedMLP
from gradlab.nn.products import Call, affine, product

aten = torch.ops.aten
Told = Callable[[int, Tensor], object]
"""Called with a layer and the tensor that was computed there."""
ALIGNED = 64  # every layer of a buffer begins at a multiple of so many entries


class _Phi(Protocol):
    """One layer's activation: h from z, and delta from the gradient of h, which may lie in the same memory."""

    def forward(self, z: Tensor) -> object: ...

    def backward(self, gradient: Tensor, delta: Tensor) -> None: ...

    def apply(self, z: Tensor, spare: Tensor) -> None:
        """Write h over z of any batch; `spare`, of the same shape, may be written over. No backward pass follows."""
        ...


class _Elementwise:
    def __init__(self, kernels: Kernels, z: Tensor, h: Tensor) -> None:
        self.kernels, self.h = kernels, h
        self.kept = h if kernels.of_output else z

    def forward(self, z: Tensor) -> Tensor:
        self.kernels.forward(z, self.h)
        return self.h

    def backward(self, gradient: Tensor, delta: Tensor) -> None:
        self.kernels.backward(gradient, self.kept, delta)

    def apply(self, z: Tensor, spare: Tensor) -> None:
        self.kernels.forward(z, z)


class _PReLU:
    """`StackedPReLU` and its backward pass; `slope` is the gradient of alpha."""

    def __init__(self, module: StackedPReLU, z: Tensor, h: Tensor, slope: Tensor, scratch: Tensor) -> None:
        self.alpha, self.z, self.h, self.slope, self.scaled = module.alpha, z, h, slope, scratch
        self.above = torch.empty_like(z, dtype=torch.bool)
        self.zero = torch.zeros((), dtype=z.dtype, device=z.device)
        self.axes = [axis for axis in (1, 2) if module.alpha.shape[axis] == 1]

    def forward(self, z: Tensor) -> Tensor:
        torch.mul(self.alpha, z, out=self.scaled)
        torch.gt(z, 0, out=self.above)
        return torch.where(self.above, z, self.scaled, out=self.h)

    def backward(self, gradient: Tensor, delta: Tensor) -> None:
        below = torch.where(self.above, self.zero, gradient)
        torch.sum(torch.mul(below, self.z, out=self.scaled), self.axes, keepdim=True, out=self.slope)
        torch.where(self.above, gradient, self.zero, out=delta)
        delta.add_(torch.mul(below, self.alpha, out=self.scaled))

    def apply(self, z: Tensor, spare: Tensor) -> None:
        torch.where(z > 0, z, torch.mul(self.alpha, z, out=spare), out=z)


class _PReLUOfOneSlope(_PReLU):
    """PReLU with one alpha a replica, on the CPU: by the kernels of leaky ReLU, whose slope is a number."""

    numbers: Sequence[float] = ()

    def forward(self, z: Tensor) -> Tensor:
        self.numbers = self.alpha.flatten().tolist()
        self._leak(z, self.h)
        return self.h

    def backward(self, gradient: Tensor, delta: Tensor) -> None:
        below = torch.clamp(self.z, max=0.0, out=self.scaled)
        torch.sum(torch.mul(below, gradient, out=self.scaled), self.axes, keepdim=True, out=self.slope)
        if not all(map(isfinite, (*self.numbers, self.slope.sum().item()))):
            # with entries that are not finite, only this order of products gives autograd's result
            torch.gt(self.z, 0, out=self.above)
            super().backward(gradient, delta)
            return
        for g, z, number, out in zip(gradient, self.z, self.numbers, delta, strict=True):
            aten.leaky_relu_backward.grad_input(g, z, number, False, grad_input=out)

    def apply(self, z: Tensor, spare: Tensor) -> None:
        self.numbers = self.alpha.flatten().tolist()
        self._leak(z, z)

    def _leak(self, z: Tensor, h: Tensor) -> None:
        for replica, number in enumerate(self.numbers):
            aten.leaky_relu.out(z[replica], number, out=h[replica])


class BufferedPass:
    """Forward and backward passes of one stack on batches of one size.

    keep:      whether everything stays until the next pass, as `z`, `h`, `by_h` (the gradient of h) and `delta` of the
               hidden layers; otherwise what is not needed any more is written over
    gradients: of every parameter in the order of `mlp.parameters()`; the next pass writes over them. Given, they are
               another pass's
    """

    def __init__(
        self, mlp: StackedMLP, kernels: Kernels | None, batch: int, *, keep: bool = False,
        gradients: Sequence[Tensor] | None = None,
    ) -> None:  # fmt: skip
        weights = [linear.weight for linear in mlp.linears]
        like = weights[0].detach()
        self.mlp, self.kernels, self.batch = mlp, kernels, batch
        self._weights = [weight.detach() for weight in weights]
        self._biases = [linear.bias.detach() for linear in mlp.linears]
        parameters = list(mlp.parameters())
        self.gradients = [torch.empty_like(p) for p in parameters] if gradients is None else list(gradients)
        found = dict(zip(parameters, self.gradients, strict=True))
        self._weight_gradients = [found[weight] for weight in weights]
        self._bias_gradients = [found[linear.bias] for linear in mlp.linears]

        hidden, replicas, outputs = len(mlp.layers), len(like), weights[-1].shape[2]
        shape = (replicas, batch, weights[-1].shape[1])
        self.z = _layers(like, hidden, shape)
        in_place = kernels is not None and kernels.of_output and not keep
        self.h = self.z if in_place else _layers(like, hidden, shape)
        scratch = like.new_empty(shape)
        self._phi: list[_Phi] = []
        for layer, z, h in zip(mlp.layers, self.z, self.h, strict=True):
            if isinstance(layer.activation, StackedPReLU):
                alpha = layer.activation.alpha
                alone = alpha.device.type == "cpu" and alpha.shape[1:] == (1, 1)
                kind = _PReLUOfOneSlope if alone else _PReLU
                self._phi.append(kind(layer.activation, z, h, found[alpha], scratch))
            else:
                assert kernels is not None
                self._phi.append(_Elementwise(kernels, z, h))
        self._z = [*self.z, like.new_empty(replicas, batch, outputs)]
        # The gradient on its way down: two buffers in turn, since a product cannot write over its operand.
        self.delta = _layers(like, hidden if keep else min(hidden, 2), shape)
        self._down = [self.delta[layer % len(self.delta)] for layer in range(hidden)]
        self.by_h = _layers(like, hidden, shape) if keep else self.delta
        self._by_h = [self.by_h[layer % len(self.by_h)] for layer in range(hidden)]
        # Inputs and the top gradient are copied into buffers of their own, so that all products can be prepared now.
        self._x = like.new_empty(replicas, batch, weights[0].shape[1])
        self._top = like.new_empty(replicas, batch, outputs)
        inputs, deltas = [self._x, *self.h], [*self._down, self._top]
        self._affines = [
            affine(*each) for each in zip(self._biases, inputs, self._weights, self._z, strict=True)
        ]
        self._weight_products = [
            product(h.transpose(1, 2), delta, gradient)
            for h, delta, gradient in zip(inputs, deltas, self._weight_gradients, strict=True)
        ]
        self._delta_products = [
            product(delta, weight.transpose(1, 2), by_h)
            for delta, weight, by_h in zip(deltas[1:], self._weights[1:], self._by_h, strict=True)
        ]
        self._deltas = deltas
        self._space = like.new_empty(2, 0)
        self._inferences: dict[int, tuple[list[tuple[Tensor, Tensor]], list[Call]]] = {}

    @property
    def outputs(self) -> Tensor:
        """What the last forward pass returned."""
        outputs: Tensor = self._z[-1]
        return outputs

    def kept(self) -> BufferedPass:
        """A pass of the same stack that keeps everything, with this one's gradients."""
        return BufferedPass(self.mlp, self.kernels, self.batch, keep=True, gradients=self.gradients)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """[replica, batch, feature] -> outputs [replica, batch, unit], valid until the next pass."""
        _take(x, self._x)
        for multiply, phi, z in zip(self._affines, self._phi, self._z, strict=False):
            multiply()
            phi.forward(z)
        self._affines[-1]()
        return self.outputs

    @torch.no_grad()
    def backward(self, gradient: Tensor) -> None:
        """Fill `gradients`, given the gradient of the last forward pass's outputs."""
        _take(gradient, self._top)
        for place in range(len(self._z) - 1, -1, -1):
            torch.sum(self._deltas[place], 1, keepdim=True, out=self._bias_gradients[place])
            self._weight_products[place]()
            if place:
                self._delta_products[place - 1]()
                self._phi[place - 1].backward(self._by_h[place - 1], self._deltas[place - 1])

    @torch.no_grad()
    def infer(self, x: Tensor, linear: Told | None = None, activation: Told | None = None) -> Tensor:
        """Outputs for a batch of any size, [replica, batch, feature], valid until the next; what `forward` left behind
        stays.

        linear, activation: called with every linear map's z, the readout's last, and every activation's h. These
        tensors are written over after the call.
        """
        pairs, behind = self._inference(x.shape[1])
        affines = [affine(self._biases[0], x, self._weights[0], pairs[0][0]), *behind]
        for place, (multiply, (out, spare)) in enumerate(zip(affines, pairs, strict=True)):
            multiply()
            if linear:
                linear(place, out)
            if place < len(self._phi):
                self._phi[place].apply(out, spare)
                if activation:
                    activation(place, out)
        return out

    def _inference(self, rows: int) -> tuple[list[tuple[Tensor, Tensor]], list[Call]]:
        """For batches of `rows` samples: each linear map's output with scratch memory of the same shape, and the maps
        themselves but for the first, whose input is the caller's."""
        found = self._inferences.get(rows)
        if found is None:
            replicas = len(self._top)
            entries = replicas * rows * max(z.shape[2] for z in self._z)
            if entries > self._space.shape[1]:
                self._space = _layers(self._space, 2, (entries,))
                self._inferences.clear()
            pairs = []
            for place, z in enumerate(self._z):
                shape = (replicas, rows, z.shape[2])
                one, other = (each[: prod(shape)].view(shape) for each in self._space)
                pairs.append((one, other) if place % 2 == 0 else (other, one))
            behind = [
                affine(bias, h, weight, out)
                for bias, (h, _), weight, (out, _) in zip(
                    self._biases[1:], pairs, self._weights[1:], pairs[1:], strict=False
                )
            ]
            found = self._inferences[rows] = pairs, behind
        return found


def _take(x: Tensor, into: Tensor) -> None:
    if x.shape != into.shape:  # copy_ would broadcast a smaller one
        raise RuntimeError(f"a pass for {list(into.shape)} was given {list(x.shape)}")
    into.copy_(x)


def _layers(like: Tensor, layers: int, shape: tuple[int, ...]) -> Tensor:
    """Memory of [layer, *shape], every layer aligned as an allocation of its own: products' last bits depend on it."""
    entries = prod(shape)
    whole = like.new_empty(layers, -(-entries // ALIGNED) * ALIGNED)
    return whole[:, :entries].view(layers, *shape)


def buffered_pass(mlp: StackedMLP, activation: Activation, batch: int) -> BufferedPass | None:
    """A pass in buffers for stacks without norm and skip connections whose activation has kernels; else None."""
    kernels = kernels_of(activation)
    plain = all(
        layer.skip.scheme.none
        and isinstance(layer.norm_before, nn.Identity)
        and isinstance(layer.norm_after, nn.Identity)
        and (kernels is not None or isinstance(layer.activation, StackedPReLU))
        for layer in mlp.layers
    )
    return BufferedPass(mlp, kernels, batch) if plain else None
