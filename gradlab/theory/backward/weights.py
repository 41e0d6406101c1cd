"""Linear maps with random weights: linear layers, convolutions, transposed ones.

E delta_in^2 = (1 / n_in) sum_k ||w_k||^2 E delta_k^2 with the weights' own norms: the terms of the sum over the outputs
are taken as independent. Behind random weights the units are independent of each other (Schoenholz et al. 2017, eq. 9;
convolutions: Xiao et al. 2018, with the true number of taps at each position). For a given delta the sum over the
inputs of the squares of normal numbers has the relative variance 2 / n_in: the band of finite width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradlab.activations.spec import Array
from gradlab.theory.backward.field import LARGEST, Field, correlation, dimension, profile

Places = NDArray[np.int64]


def linear(field: Field, dim: int, norms_sq: Array, inputs: int) -> Field:
    """Behind a linear map of one dimension; norms_sq: ||w_k||^2 of each of its outputs, [out]."""
    factor = float(profile(field.dims[dim]) @ norms_sq) / inputs
    units = ((inputs, None),) if inputs > 1 else ()
    dims = (*field.dims[:dim], units, *field.dims[dim + 1 :])
    origins = field.origins.through(_number(norms_sq))
    return Field(field.square * factor, dims, origins, field.noise + 2 / inputs)


@dataclass(frozen=True)
class Convolution:
    """energy: sum of the squared weights of each output channel and tap, [out, *taps]; by axis: stride, padding,
    dilation; transposed: the map goes the other way round; inputs: [channels, *sizes] of what it takes"""

    energy: Array
    stride: Sequence[int]
    padding: Sequence[int]
    dilation: Sequence[int]
    transposed: bool
    inputs: Sequence[int]


def convolution(field: Field, conv: Convolution) -> Field:
    """Behind a convolution; the field is [batch, channel, *sizes]."""
    channels = profile(field.dims[1])
    taps = np.tensordot(channels, conv.energy, axes=1)
    pairs = [joined(conv, axis, field.shape[2 + axis]) for axis in range(taps.ndim)]
    total = taps
    for axis, of_axis in enumerate(pairs):
        squares = profile(field.dims[2 + axis])
        reached = np.array([squares[outputs].sum() for outputs, _ in of_axis])
        total = np.tensordot(reached, total, axes=1)
    dims = [field.dims[0], ((conv.inputs[0], None),) if conv.inputs[0] > 1 else ()]
    for axis, of_axis in enumerate(pairs):
        other = tuple(each for each in range(taps.ndim) if each != axis)
        size, own = conv.inputs[1 + axis], correlation(field.dims[2 + axis])
        if size > LARGEST or field.shape[2 + axis] > LARGEST:
            dims.append(((size, None),))
            continue
        own = np.eye(field.shape[2 + axis]) if own is None else own
        whole = np.zeros((size, size))
        for weight, (outputs, inputs) in zip(taps.sum(axis=other), of_axis, strict=True):
            whole[np.ix_(inputs, inputs)] += weight * own[np.ix_(outputs, outputs)]
        dims.append(dimension(whole)[1])
    factor = float(total) / float(np.prod(conv.inputs))
    noise = field.noise + 2 / (conv.inputs[0] * taps.size)
    origins = field.origins.through(_number(conv.energy))
    return Field(field.square * factor, tuple(dims), origins, noise)


def _number(norms: Array) -> int:
    """The same for weights that are copies of each other."""
    return hash(norms.tobytes())


def joined(conv: Convolution, axis: int, outputs: int) -> list[tuple[Places, Places]]:
    """For each tap along an axis the outputs and the inputs that it joins."""
    stride, padding, dilation = conv.stride[axis], conv.padding[axis], conv.dilation[axis]
    size, found = conv.inputs[1 + axis], []
    for tap in range(conv.energy.shape[1 + axis]):
        here = np.arange(size if conv.transposed else outputs)
        there = here * stride - padding + tap * dilation
        inside = (there >= 0) & (there < (outputs if conv.transposed else size))
        here, there = here[inside], there[inside]
        found.append((there, here) if conv.transposed else (here, there))
    return found
