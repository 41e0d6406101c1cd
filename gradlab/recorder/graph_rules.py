"""Nodes of autograd's graph, each as a rule for the second moments of the gradient that goes through it.

A node knows its operation and keeps what its derivative needs: the weights, the input of an activation, the scale of a
norm. A rule holds numbers made of these, and no tensor of the graph: it is applied once the gradient of the last row is
known. A node that is not here has no theory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from math import isfinite, prod
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from gradlab.theory.backward import field as fd
from gradlab.theory.backward.field import Factor, Field
from gradlab.theory.backward.norms import normalised
from gradlab.theory.backward.pooling import largest
from gradlab.theory.backward.slopes import slope_sq
from gradlab.theory.backward.weights import Convolution, convolution, linear

Array = NDArray[np.float64]
Places = NDArray[np.int64]
Node = Any  # of autograd's graph
Fields = Sequence[Field | None]
Rule = Callable[[Sequence[Field | None]], Fields]
"""Of the gradients of a node's outputs those of its operands; None where none comes or goes."""


class Operand(NamedTuple):
    """node, output: what made it; shape: its own"""

    node: Node
    output: int
    shape: tuple[int, ...]


def operands_of(node: Node) -> list[Operand | None]:
    """A node's operands in their order; None for one that takes no gradient."""
    return [
        None if below is None else Operand(below, output, tuple(below._input_metadata[output].shape))
        for below, output in node.next_functions
    ]


def is_leaf(node: Node) -> bool:
    """Whether it collects a parameter's gradient."""
    return bool(node.name().endswith("AccumulateGrad"))


def is_parameter(operand: Operand | None) -> bool:
    """Whether an operand is a parameter, or another view of one."""
    node = None if operand is None else operand.node
    while node is not None and not is_leaf(node):
        node = node.next_functions[0][0] if len(node.next_functions) == 1 else None
    return node is not None


def name_of(node: Node) -> str:
    """The operation's name: `Addmm` of `AddmmBackward0`."""
    return str(node.name().rpartition("::")[2].partition("Backward")[0])


# -- one operand, of which the output is a rearrangement -----------------------------------------------------


def _one(rule: Callable[[Field, Operand], Field]) -> Callable[[Node, Sequence[Operand | None]], Rule]:
    """A node of one output and one operand."""
    return lambda node, operands: _only(operands, rule)


def _only(operands: Sequence[Operand | None], rule: Callable[[Field, Operand], Field]) -> Rule:
    """The rule of a node whose output is made of its first operand alone."""
    shape = None if operands[0] is None else operands[0].shape

    def back(fields: Fields) -> Fields:
        own = fields[0]
        return [None if own is None or shape is None else rule(own, Operand(None, 0, shape))]

    return back


def _permuted(
    order: Callable[[Node, int], Sequence[int]],
) -> Callable[[Node, Sequence[Operand | None]], Rule]:
    """order: the operand's dimension at each place of the output."""

    def build(node: Node, operands: Sequence[Operand | None]) -> Rule:
        dims = order(node, len(node._input_metadata[0].shape))
        back = [int(place) for place in np.argsort(dims)]
        return _only(operands, lambda field, _: fd.permuted(field, back))

    return build


def _swapped(node: Node, count: int) -> list[int]:
    order, one, other = (
        list(range(count)),
        _signed(node._saved_dim0) % count,
        _signed(node._saved_dim1) % count,
    )
    order[one], order[other] = order[other], order[one]
    return order


def _placed(where: Callable[[Node, int], Places]) -> Callable[[Node, Sequence[Operand | None]], Rule]:
    """The output is some of the operand, along one dimension; where: which, given its length there."""

    def build(node: Node, operands: Sequence[Operand | None]) -> Rule:
        (operand,) = operands
        assert operand is not None
        count = len(operand.shape)
        dim = _signed(node._saved_dim) % count
        size = operand.shape[dim]
        taken = where(node, size)

        def back(field: Field, _: Operand) -> Field:
            if len(field.dims) < count:
                field = replace(field, dims=(*field.dims[:dim], (), *field.dims[dim:]))
            return fd.placed(field, dim, taken, size)

        return _only(operands, back)

    return build


def _sliced(node: Node, size: int) -> Places:
    start, end = _signed(node._saved_start), min(_signed(node._saved_end), size)
    return np.arange(size)[start : end : int(node._saved_step)]


def _parts(node: Node, operands: Sequence[Operand | None]) -> Rule:
    """The outputs are the operand's parts along one dimension: split, chunk, unbind."""
    (operand,) = operands
    assert operand is not None
    dim = _signed(node._saved_dim) % len(operand.shape)
    kept = name_of(node) != "Unbind"
    shape, sizes = operand.shape, [meta.shape[dim] if kept else 1 for meta in node._input_metadata]
    starts = np.concatenate([[0], np.cumsum(sizes)])

    def back(fields: Fields) -> Fields:
        parts = []
        for start, size, field in zip(starts, sizes, fields, strict=False):
            if field is None:
                continue
            if not kept:
                field = replace(field, dims=(*field.dims[:dim], (), *field.dims[dim:]))
            parts.append(fd.placed(field, dim, np.arange(start, start + size), shape[dim]))
        return [fd.combined(parts)] if parts else [None]

    return back


def _cat(node: Node, operands: Sequence[Operand | None]) -> Rule:
    stacked = name_of(node) == "Stack"
    whole = tuple(node._input_metadata[0].shape)
    dim = _signed(node._saved_dim) % len(whole)
    sizes = [1 if stacked else None if each is None else each.shape[dim] for each in operands]
    if sizes.count(None) == 1:  # a constant part takes what the others leave
        sizes[sizes.index(None)] = whole[dim] - sum(size for size in sizes if size is not None)
    known = None not in sizes

    def back(fields: Fields) -> Fields:
        (field,), start = fields, 0
        found: list[Field | None] = []
        for operand, size in zip(operands_shapes, sizes, strict=True):
            if operand is None or field is None:
                found.append(None)
            elif not known or size is None:
                found.append(fd.independent(operand, origins=field.origins.renewed()))
            else:
                rows = np.eye(whole[dim])[:, start : start + size] if whole[dim] <= fd.LARGEST else None
                part = _narrowed(field, dim, start, size) if rows is None else fd.mixed(field, dim, rows)
                found.append(fd.reshaped(part, operand) if stacked else part)
            start += size or 0
        return found

    operands_shapes = [None if each is None else each.shape for each in operands]
    return back


def _narrowed(field: Field, dim: int, start: int, size: int) -> Field:
    factor = float(fd.profile(field.dims[dim])[start : start + size].mean())
    axis = ((size, None),) if size > 1 else ()
    return replace(
        field, square=field.square * factor, dims=(*field.dims[:dim], axis, *field.dims[dim + 1 :])
    )


def _index(node: Node, operands: Sequence[Operand | None]) -> Rule:
    """x[..., indices, ...] with one list of positions."""
    operand, places = operands[0], [*node._saved_indices]
    at = [dim for dim, each in enumerate(places) if each is not None]
    if operand is None or len(at) != 1 or places[at[0]].dim() != 1:
        raise NoRule
    dim, size, where = at[0], operand.shape[at[0]], places[at[0]]
    where = where.nonzero().flatten() if where.dtype == torch.bool else where % size
    taken = where.cpu().numpy()
    return _only(operands, lambda field, _: fd.placed(field, dim, taken, size))


def _padded(node: Node, operands: Sequence[Operand | None]) -> Rule:
    pad = [int(each) for each in node._saved_pad]

    def back(field: Field, operand: Operand) -> Field:
        for place in range(len(pad) // 2):
            dim = len(operand.shape) - 1 - place
            field = _narrowed(field, dim, pad[2 * place], operand.shape[dim])
        return field

    return _only(operands, back)


def _reduced(mean: bool) -> Callable[[Node, Sequence[Operand | None]], Rule]:
    def build(node: Node, operands: Sequence[Operand | None]) -> Rule:
        (operand,) = operands
        assert operand is not None
        shape = operand.shape
        given = getattr(node, "_saved_dim", None)
        dims = [_signed(dim) % len(shape) for dim in given] if given else list(range(len(shape)))

        def back(field: Field, _: Operand) -> Field:
            field = fd.reshaped(field, [1 if dim in dims else size for dim, size in enumerate(shape)])
            for dim in dims:
                field = fd.spread(field, dim, shape[dim], 1 / shape[dim] if mean else 1.0)
            return field

        return _only(operands, back)

    return build


# -- sums and products ---------------------------------------------------------------------------------------


def _sum(node: Node, operands: Sequence[Operand | None]) -> Rule:
    """a + alpha b, a - alpha b"""
    factors = [1.0, float(getattr(node, "_saved_alpha", 1.0)) ** 2]
    shapes = [None if each is None else each.shape for each in operands]

    def back(fields: Fields) -> Fields:
        (field,) = fields
        return [
            None if shape is None or field is None
            else fd.gathered(replace(field, square=field.square * factor), shape)
            for shape, factor in zip(shapes, factors, strict=False)
        ]  # fmt: skip

    return back


def _scaled(operands: Sequence[Operand | None], numbers: Sequence[Tensor | float | None], shape: Any) -> Rule:
    """Each operand's gradient is the output's times known numbers."""
    factors = [None if each is None else factor_of(each, shape) for each in numbers]
    shapes = [None if each is None else each.shape for each in operands]

    def back(fields: Fields) -> Fields:
        (field,) = fields
        return [
            None if own is None or field is None or factor is None
            else fd.gathered(fd.scaled(field, factor), own)
            for own, factor in zip(shapes, factors, strict=False)
        ]  # fmt: skip

    return back


def _product(node: Node, operands: Sequence[Operand | None]) -> Rule:
    shape = node._input_metadata[0].shape
    if len(operands) > 1 and operands[0] and operands[1] and operands[0][:2] == operands[1][:2]:  # x * x
        return _scaled(operands[:1], [2 * node._saved_other], shape)
    numbers = [node._saved_other if operands[0] else None]
    return _scaled(
        operands, [*numbers, node._saved_self if len(operands) > 1 and operands[1] else None], shape
    )


def _quotient(node: Node, operands: Sequence[Operand | None]) -> Rule:
    shape, other = node._input_metadata[0].shape, node._saved_other
    numbers = [1 / other if operands[0] else None]
    if len(operands) > 1 and operands[1]:
        numbers.append(node._saved_self / other**2)
    return _scaled(operands, numbers, shape)


def _by(derivative: Callable[[Node], Tensor | float]) -> Callable[[Node, Sequence[Operand | None]], Rule]:
    """An elementwise function that is no activation; derivative: at what it was given."""
    return lambda node, operands: _scaled(operands, [derivative(node)], node._input_metadata[0].shape)


def _where(node: Node, operands: Sequence[Operand | None]) -> Rule:
    chosen = node._saved_condition.to(torch.float32)
    return _scaled(operands, [None, chosen, 1 - chosen][-len(operands) :], node._input_metadata[0].shape)


# -- maps ----------------------------------------------------------------------------------------------------


def _product_of_matrices(node: Node, operands: Sequence[Operand | None]) -> Rule:
    """a b, [n, k] [k, m], plus a tensor in `addmm`; one for each sample in `bmm`."""
    *added, left, right = operands
    first = "_saved_mat1" if added else "_saved_self"
    by_sample = len(node._input_metadata[0].shape) > 2
    last = 2 if by_sample else 1
    rules: list[Callable[[Field], Field] | None] = [None] * len(operands)
    if left is not None and not is_leaf(left.node):
        if by_sample and right is not None and not is_parameter(right):
            raise NoRule  # two activations, such as attention without a softmax
        # the columns of b are the weights of a's outputs
        norms = _array(node._saved_mat2.double().square().sum(-2))
        rules[-2] = partial(linear, dim=last, norms_sq=norms.reshape(-1, norms.shape[-1]).mean(0),
                            inputs=left.shape[-1])  # fmt: skip
    if right is not None and not is_leaf(right.node):
        matrix = getattr(node, first)
        if left is None and matrix.numel() <= MOST_OF_A_MAP:  # such as a graph's adjacency
            matrix = matrix.to_dense() if matrix.layout != torch.strided else matrix
            rules[-1] = partial(
                fd.mixed, dim=last - 1, maps=_array(matrix[:MOST_MAPS] if by_sample else matrix)
            )
        elif left is None or is_parameter(left):
            norms = _array(matrix.double().square().sum(-1))
            rules[-1] = partial(linear, dim=last - 1, norms_sq=norms.reshape(-1, norms.shape[-1]).mean(0),
                                inputs=right.shape[-2])  # fmt: skip
        elif not is_parameter(right) and name_of(node) == "Bmm":
            raise NoRule
    shapes = [None if each is None else each.shape for each in operands]

    def back(fields: Fields) -> Fields:
        (field,) = fields
        if field is None:
            return [None] * len(rules)
        found: list[Field | None] = [None if rule is None else rule(field) for rule in rules]
        if len(rules) > 2 and shapes[0] is not None:
            found[0] = fd.gathered(field, shapes[0])
        return found

    return back


def _sparse(node: Node, operands: Sequence[Operand | None]) -> Rule:
    """A known sparse matrix times b."""
    matrix = node._saved_mat1
    if operands[-1] is None or operands[-2] is not None or matrix is None or matrix.numel() > MOST_OF_A_MAP:
        raise NoRule
    maps, others = _array(matrix.to_dense()), len(operands) - 1

    def back(fields: Fields) -> Fields:
        (field,) = fields
        return [None] * others + [None if field is None else fd.mixed(field, 0, maps)]

    return back


def _convolution(node: Node, operands: Sequence[Operand | None]) -> Rule:
    x, weight = operands[0], node._saved_weight
    if x is None:
        return lambda fields: [None]
    transposed = bool(node._saved_transposed)
    energy = energy_of(weight, transposed, int(node._saved_groups))
    stride, padding, dilation = (
        [int(each) for each in getattr(node, f"_saved_{name}")] for name in ("stride", "padding", "dilation")
    )
    conv = Convolution(energy, stride, padding, dilation, transposed, x.shape[1:])
    return _only(operands, lambda field, _: convolution(field, conv))


def energy_of(weight: Tensor, transposed: bool, groups: int) -> Array:
    """Sum of the squared weights of each output channel and tap, [out, *taps]; a transposed convolution's weights are
    [in, out / groups, *taps]."""
    squares = weight.detach().double().square()
    if not transposed:
        return _array(squares.sum(1))
    return _array(squares.reshape(groups, -1, *squares.shape[1:]).sum(1).flatten(0, 1))


# -- activations ---------------------------------------------------------------------------------------------


def _selu_or_elu(node: Node) -> str:
    alpha, scale, inner = (
        float(getattr(node, f"_saved_{name}")) for name in ("alpha", "scale", "input_scale")
    )
    if scale == 1.0:
        return f"elu:alpha={alpha!r}" if inner == 1.0 else f"celu:alpha={alpha!r}"
    if abs(alpha - 1.6732632423543772) > 1e-6:
        raise NoRule
    return "selu"


def _gelu(node: Node) -> str:
    return "gelu" if node._saved_approximate == "none" else "gelu_tanh"


def _plain_softplus(node: Node) -> str:
    if float(node._saved_beta) != 1.0:
        raise NoRule
    return "softplus"


ACTIVATIONS: dict[str, str | Callable[[Node], str]] = {
    "Tanh": "tanh", "Sigmoid": "sigmoid", "Silu": "silu", "Mish": "mish", "Gelu": _gelu, "Softplus": _plain_softplus,
    "Hardswish": "hard_swish", "Hardsigmoid": "hard_sigmoid_6", "Erf": "erf", "Elu": _selu_or_elu,
    "LeakyRelu": lambda node: f"leaky_relu:negative_slope={float(node._saved_negative_slope)!r}",
}  # fmt: skip
"""The registry's name of each activation of torch's."""

INVERSE: dict[str, Callable[[Tensor], Tensor]] = {"Tanh": torch.atanh, "Sigmoid": torch.logit}
"""Of those that keep what they put out, not what they took."""


def _activation(node: Node, operands: Sequence[Operand | None]) -> Rule:
    name, shape = name_of(node), node._input_metadata[0].shape
    slopes = _slopes(node)
    mean_sq = float(slopes.square().mean(dtype=torch.float64))
    if name == "Relu":  # it keeps what it puts out alone: of z the share above 0 is known
        square = mean_sq
    else:
        z = _taken(node)
        mean, variance = float(z.mean()), float(z.var(correction=0))
        if not isfinite(variance):
            raise NoRule
        named = ACTIVATIONS[name]
        square = slope_sq(named if isinstance(named, str) else named(node), mean, variance)
    factor = Factor(square, _array(slopes), uneven=False)
    units = shape[1] if len(shape) > 3 else shape[-1] if shape else 1
    uneven = float((slopes**4).mean(dtype=torch.float64)) / mean_sq**2 if mean_sq > 0 else 1.0
    noise = 3 * max(uneven - 1, 0.0) / units

    def back(field: Field, _: Operand) -> Field:
        behind = fd.scaled(field, factor)
        return replace(behind, noise=behind.noise + noise)

    return _only(operands, back)


def _taken(node: Node) -> Tensor:
    """What an activation was given."""
    name = name_of(node)
    return (
        INVERSE[name](_some(node._saved_result).double())
        if name in INVERSE
        else _some(node._saved_self).double()
    )


def _slopes(node: Node) -> Tensor:
    """phi' at each entry that an activation was given."""
    name = name_of(node)
    if name == "Relu":
        return (_some(node._saved_result) > 0).float()
    with torch.enable_grad():
        leaf = _taken(node).requires_grad_()
        (slopes,) = torch.autograd.grad(_function(name, node)(leaf).sum(), leaf)
    return slopes


def _function(name: str, node: Node) -> Callable[[Tensor], Tensor]:
    if name == "LeakyRelu":
        return partial(F.leaky_relu, negative_slope=float(node._saved_negative_slope))
    if name == "Gelu":
        return partial(F.gelu, approximate=node._saved_approximate)
    if name == "Elu":
        a, s, i = (float(getattr(node, f"_saved_{each}")) for each in ("alpha", "scale", "input_scale"))
        return lambda z: s * torch.where(z > 0, z, a * torch.expm1(z * i))
    found: Callable[[Tensor], Tensor] = getattr(F, name.lower(), None) or getattr(torch, name.lower())
    return found


# -- norms ---------------------------------------------------------------------------------------------------


def _gamma_sq(weight: Tensor | None) -> float:
    return 1.0 if weight is None else float(weight.double().square().mean())


def _layer_norm(node: Node, operands: Sequence[Operand | None]) -> Rule:
    shape = node._input_metadata[0].shape
    rms = name_of(node) != "NativeLayerNorm"
    scale = node._saved_result1 if rms else node._saved_result2
    factor = factor_of(scale.reshape(*scale.shape, *[1] * (len(shape) - scale.dim())), shape)
    factor = replace(factor, square=factor.square * _gamma_sq(node._saved_weight))
    dims = range(len(shape) - len(node._saved_normalized_shape), len(shape))
    entries = prod(shape[dim] for dim in dims)

    def back(field: Field, _: Operand) -> Field:
        share = 0.0 if rms else prod(fd.coherence(field.dims[dim]) for dim in dims)
        return normalised(field, factor, share, entries)

    return _only(operands, back)


def _batch_norm(node: Node, operands: Sequence[Operand | None]) -> Rule:
    shape = node._input_metadata[0].shape
    training = bool(getattr(node, "_saved_training", True))
    scale = node._saved_result2 if training else (node._saved_running_var + node._saved_eps).rsqrt()
    if node._saved_weight is not None:
        scale = scale * node._saved_weight
    factor = factor_of(scale.reshape(-1, *[1] * (len(shape) - 2)), shape)
    dims = [dim for dim in range(len(shape)) if dim != 1]
    entries = prod(shape[dim] for dim in dims)

    def back(field: Field, _: Operand) -> Field:
        if not training:
            return fd.scaled(field, factor)
        return normalised(field, factor, prod(fd.coherence(field.dims[dim]) for dim in dims), entries)

    return _only(operands, back)


def _group_norm(node: Node, operands: Sequence[Operand | None]) -> Rule:
    shape = node._input_metadata[0].shape
    square = float(node._saved_result2.double().square().mean()) * _gamma_sq(node._saved_weight)
    factor = Factor(square)
    channels = shape[1] // int(node._saved_group)
    entries = channels * prod(shape[2:])

    def back(field: Field, _: Operand) -> Field:
        space = prod(fd.coherence(field.dims[dim]) for dim in range(2, len(shape)))
        return normalised(field, factor, space / channels, entries)

    return _only(operands, back)


# -- pooling -------------------------------------------------------------------------------------------------


def _resampled(
    of_axis: Callable[[Node, Tensor, int, int], Tensor],
) -> Callable[[Node, Sequence[Operand | None]], Rule]:
    """A known map along each axis of space; of_axis: it applied to the rows of the identity, [1, in, in], given the
    axis and its length in the output."""

    def build(node: Node, operands: Sequence[Operand | None]) -> Rule:
        (operand,) = operands
        assert operand is not None
        out, sizes = node._input_metadata[0].shape, operand.shape
        maps = []
        for axis, dim in enumerate(range(2, len(sizes))):
            identity = torch.eye(sizes[dim], dtype=torch.float64)[None]
            maps.append((dim, _array(of_axis(node, identity, axis, out[dim])[0].T)))

        def back(field: Field, _: Operand) -> Field:
            for dim, matrix in maps:
                field = fd.mixed(field, dim, matrix)
            return field

        return _only(operands, back)

    return build


def _window(node: Node, rows: Tensor, axis: int, _: int) -> Tensor:
    if getattr(node, "_saved_divisor_override", None) is not None:
        raise NoRule
    size, stride, padding = (
        _at(getattr(node, f"_saved_{name}"), axis) for name in ("kernel_size", "stride", "padding")
    )
    counted = bool(getattr(node, "_saved_count_include_pad", True))
    return F.avg_pool1d(rows, size, stride or size, padding, bool(node._saved_ceil_mode), counted)


def _max_pool(node: Node, operands: Sequence[Operand | None]) -> Rule:
    (operand,) = operands
    assert operand is not None
    if any(int(each) != 1 for each in node._saved_dilation):
        raise NoRule
    dims = range(len(operand.shape) - len(node._saved_kernel_size), len(operand.shape))
    windows = [
        _array(
            (
                _window(node, torch.eye(operand.shape[dim], dtype=torch.float64)[None], axis, 0)[0].T > 0
            ).double()
        )
        for axis, dim in enumerate(dims)
    ]
    factor = _slope_at_largest(node, operand)

    def back(field: Field, _: Operand) -> Field:
        behind = largest(field, dims, windows)
        return replace(behind, square=behind.square * factor)

    return _only(operands, back)


def _slope_at_largest(node: Node, operand: Operand) -> float:
    """Where an activation stands in front of the pooling: the mean squared slope at the entries that are chosen, over
    that of all. The largest of a window is above 0 more often than any other."""
    if name_of(operand.node) not in ("Relu", *ACTIVATIONS):
        return 1.0
    slopes, chosen = _slopes(operand.node), node._saved_result1
    slopes, chosen = slopes.flatten(-chosen.dim() + 2), chosen[: len(slopes)].flatten(-chosen.dim() + 2)
    mean = float(slopes.double().square().mean())
    return float(slopes.gather(-1, chosen).double().square().mean()) / mean if mean > 0 else 1.0


def _interpolated(mode: str) -> Callable[[Node, Sequence[Operand | None]], Rule]:
    def of_axis(node: Node, rows: Tensor, _: int, size: int) -> Tensor:
        corners = getattr(node, "_saved_align_corners", None)
        return F.interpolate(rows, size=size, mode=mode, align_corners=corners if mode == "linear" else None)

    return _resampled(of_axis)


# -- numbers -------------------------------------------------------------------------------------------------

MOST_OF_A_MAP = 2**21
"""Entries of a known matrix that is taken as it is, 16 MB."""
MOST_MAPS = 8
MOST_ENTRIES = 2**18
"""Entries of an activation's input that its moments are taken of: the first samples' that come to no more."""


class NoRule(Exception):
    """There is no theory for what a node does."""


def factor_of(numbers: Tensor | float, shape: Sequence[int]) -> Factor:
    """Of numbers that a gradient of this shape is multiplied by."""
    if not isinstance(numbers, Tensor) or numbers.numel() == 1:
        return Factor(float(numbers) ** 2)
    square = float(numbers.detach().double().square().mean())
    whole = numbers.detach().reshape(*[1] * (len(shape) - numbers.dim()), *numbers.shape)
    return Factor(square, _array(_some(whole)))


def _some(x: Tensor) -> Tensor:
    """The first samples of an activation's tensor, so many that they say enough."""
    if x.dim() == 0 or x.numel() <= MOST_ENTRIES:
        return x.detach()
    return x.detach()[: max(1, MOST_ENTRIES * x.shape[0] // x.numel())]


def _array(x: Tensor) -> Array:
    found: Array = x.detach().double().cpu().numpy()
    return found


def _signed(number: int) -> int:
    """A dimension or an index, which a node keeps without its sign."""
    return number - 2**64 if number >= 2**63 else int(number)


def _at(values: Any, axis: int) -> int:
    """The setting of one axis: one for all, or one each."""
    values = list(values)
    return 0 if not values else int(values[axis] if len(values) > axis else values[0])


_SAME = _one(lambda field, operand: fd.reshaped(field, operand.shape))

RULES: dict[str, Callable[[Node, Sequence[Operand | None]], Rule]] = {
    **dict.fromkeys(("View", "UnsafeView", "ReshapeAlias", "Squeeze", "Unsqueeze", "Alias", "Clone", "ToCopy",
                     "Detach", "Contiguous"), _SAME),
    "Expand": _one(lambda field, operand: fd.gathered(field, operand.shape)),
    "Permute": _permuted(lambda node, n: [_signed(each) % n for each in node._saved_dims]),
    "Transpose": _permuted(_swapped),
    "T": _permuted(lambda node, n: list(range(n))[::-1]),
    "Select": _placed(lambda node, size: np.array([_signed(node._saved_index) % size])),
    "Slice": _placed(_sliced),
    "IndexSelect": _placed(lambda node, size: node._saved_index.cpu().numpy()),
    "Index": _index,
    **dict.fromkeys(("Split", "SplitWithSizes", "UnsafeSplit", "UnsafeSplitWithSizes", "Unbind"), _parts),
    **dict.fromkeys(("Cat", "Stack"), _cat),
    "ConstantPadNd": _padded,
    "Mean": _reduced(mean=True),
    "Sum": _reduced(mean=False),
    **dict.fromkeys(("Add", "Sub"), _sum),
    "Neg": _by(lambda node: -1.0),
    "Rsub": _by(lambda node: -float(getattr(node, "_saved_alpha", 1.0))),
    "Mul": _product,
    "Div": _quotient,
    "Pow": _by(lambda node: node._saved_exponent * node._saved_self ** (node._saved_exponent - 1)),
    "Rsqrt": _by(lambda node: -0.5 * node._saved_result**3),
    "Sqrt": _by(lambda node: 0.5 / node._saved_result),
    "Exp": _by(lambda node: node._saved_result),
    "MaskedFill": _by(lambda node: 1 - node._saved_mask.to(torch.float32)),
    "Where": _where,
    "NativeDropout": _by(lambda node: node._saved_result1.to(torch.float32) / (1 - node._saved_p)),
    **dict.fromkeys(("Mm", "Addmm", "Bmm"), _product_of_matrices),
    "SparseAddmm": _sparse,
    "Convolution": _convolution,
    **dict.fromkeys(("Relu", *ACTIVATIONS), _activation),
    **dict.fromkeys(("NativeLayerNorm", "FusedRmsNorm"), _layer_norm),
    **dict.fromkeys(("NativeBatchNorm", "CudnnBatchNorm", "MiopenBatchNorm"), _batch_norm),
    "NativeGroupNorm": _group_norm,
    **dict.fromkeys(("MaxPool2DWithIndices", "MaxPool3DWithIndices"), _max_pool),
    **dict.fromkeys(("AvgPool2D", "AvgPool3D"), _resampled(_window)),
    "AdaptiveAvgPool2D": _resampled(lambda node, rows, axis, size: F.adaptive_avg_pool1d(rows, size)),
    **dict.fromkeys(("UpsampleNearest1D", "UpsampleNearest2D", "UpsampleNearest3D"), _interpolated("nearest")),
    **dict.fromkeys(("UpsampleLinear1D", "UpsampleBilinear2D"), _interpolated("linear")),
}  # fmt: skip
"""By the name of the operation."""
