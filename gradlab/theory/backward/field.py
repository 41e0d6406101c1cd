"""Second moments of a random tensor of mean 0: one mean square, and a correlation along each of its axes.

    E[x_i x_j] = square * C_1[i_1, j_1] * C_2[i_2, j_2] * ...

A gradient is independent from unit to unit once random weights were in its way, but not from position to position:
behind a mean over the tokens every token gets the same, behind the choice of one token the others get nothing. The
product form (the matrix normal distribution) is exact for one such origin; a sum of several is given the mean of their
correlations.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from math import nan, prod, sqrt

import numpy as np
from numpy.typing import NDArray

from gradlab.activations.spec import Array

LARGEST = 1024
"""An axis that is longer counts as independent."""
INDEPENDENT_FROM = 16
"""A sum over so many independent entries says next to nothing of any of them."""

Axis = tuple[int, Array | None]
"""Its length, and its correlation with mean 1 on the diagonal; None where its entries are independent."""
Dimension = tuple[Axis, ...]
"""A dimension of a tensor is one axis, or several that a view has merged, the slowest first."""

_numbers = count()


@dataclass(frozen=True)
class Origins:
    """Where a field's randomness is from: two fields that share one are not independent of each other.

    Random weights make a new one of each. The same weights make the same one of the same: a gradient that went through
    layer 2 alone and one that went through layer 1 alone are alike where both layers began as copies of one.
    made: of weights and an origin the new one
    """

    numbers: frozenset[int]
    made: dict[tuple[int, int], int] = dataclasses.field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def new(cls, made: dict[tuple[int, int], int] | None = None) -> Origins:
        return cls(frozenset([next(_numbers)]), {} if made is None else made)

    def renewed(self) -> Origins:
        return Origins.new(self.made)

    def through(self, weights: int) -> Origins:
        """Behind random weights, told apart by a number."""
        new = next(_numbers)
        return Origins(
            frozenset(self.made.setdefault((weights, own), new) for own in self.numbers), self.made
        )

    def __or__(self, other: Origins) -> Origins:
        return Origins(self.numbers | other.numbers, self.made)


@dataclass(frozen=True)
class Field:
    """square: mean of E[x^2]; NaN where only the correlations are known
    origins: where its randomness is from
    noise:   variance of log(mean of x^2) around log(square) at finite width, to first order
    """

    square: float
    dims: tuple[Dimension, ...]
    origins: Origins
    noise: float = 0.0

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(prod(size for size, _ in dim) for dim in self.dims)


def independent(shape: Sequence[int], square: float = nan, origins: Origins | None = None) -> Field:
    """A field that is independent from entry to entry."""
    return Field(square, tuple(_plain(size) for size in shape), origins or Origins.new())


def reshaped(field: Field, shape: Sequence[int]) -> Field:
    """The same entries in another shape."""
    waiting = [axis for dim in field.dims for axis in dim]
    dims = []
    for size in shape:
        own: list[Axis] = []
        while size > 1:
            first = waiting.pop(0)
            if first[0] > size and first[0] % size == 0:
                first, rest = _split(first, size)
                waiting.insert(0, rest)
            if size % first[0]:  # an axis is cut apart at a place that divides nothing
                return replace(field, dims=tuple(_plain(each) for each in shape))
            own.append(first)
            size //= first[0]
        dims.append(tuple(own))
    return replace(field, dims=tuple(dims))


def permuted(field: Field, order: Sequence[int]) -> Field:
    """Dimension k of the result is dimension order[k] of the field."""
    return replace(field, dims=tuple(field.dims[place] for place in order))


def correlation(dim: Dimension) -> Array | None:
    """Of a whole dimension, [size, size]; None where it is independent, or too long."""
    if all(matrix is None for _, matrix in dim) or prod(size for size, _ in dim) > LARGEST:
        return None
    whole: Array = np.ones((1, 1))
    for size, matrix in dim:
        whole = np.asarray(np.kron(whole, np.eye(size) if matrix is None else matrix))
    return whole


def coherence(dim: Dimension) -> float:
    """E[(mean over the dimension)^2] over the mean of E[x^2]: 1 where all entries are equal, 1 / n independent."""
    return prod(1 / size if matrix is None else float(matrix.mean()) for size, matrix in dim)


def profile(dim: Dimension) -> Array:
    """The entries' mean squares, [size], of mean 1."""
    found: Array = np.ones(1)
    for size, matrix in dim:
        found = np.asarray(np.kron(found, np.ones(size) if matrix is None else np.diag(matrix)))
    return found


def mixed(field: Field, dim: int, maps: Array) -> Field:
    """Behind y = M x along one dimension: the field of y taken back to x.

    maps: M, known, [..., out, in]; of several, which other dimensions run over, the mean is taken
    """
    inputs = maps.shape[-1]
    if inputs > LARGEST:
        factor = float(np.mean(profile(field.dims[dim]) @ np.square(maps)))
        return _with(field, dim, _plain(inputs), factor)
    own = correlation(field.dims[dim])
    whole = np.swapaxes(maps, -1, -2) @ (maps if own is None else own @ maps)
    return _normalised(field, dim, whole.reshape(-1, inputs, inputs).mean(0))


def placed(field: Field, dim: int, where: NDArray[np.int64], size: int) -> Field:
    """Behind y = x[where] along one dimension, `size` long in x."""
    if max(size, len(where)) > LARGEST:
        factor = float(profile(field.dims[dim]).sum() / size)
        return _with(field, dim, _plain(size), factor)
    if len(where) == size and np.array_equal(where, np.arange(size)):
        return field
    whole, own = np.zeros((size, size)), correlation(field.dims[dim])
    np.add.at(whole, (where[:, None], where[None, :]), np.eye(len(where)) if own is None else own)
    return _normalised(field, dim, whole)


def summed(field: Field, dim: int) -> Field:
    """Behind a broadcast along one dimension: x had one entry there."""
    size = field.shape[dim]
    alone = coherence(field.dims[dim]) * size
    new = _with(field, dim, (), coherence(field.dims[dim]) * size**2)
    # of many independent entries: what comes out says nothing of any of them
    return replace(new, origins=new.origins.renewed()) if size >= INDEPENDENT_FROM and alone < 2 else new


def spread(field: Field, dim: int, size: int, weight: float = 1.0) -> Field:
    """Behind a sum along one dimension, of length 1 in the field, whose entries were multiplied by `weight`."""
    same: Dimension = ((size, np.ones((size, size))),) if 1 < size <= LARGEST else _plain(size)
    return _with(field, dim, same, weight**2)


def gathered(field: Field, shape: Sequence[int]) -> Field:
    """Behind a broadcast of a tensor of this shape."""
    for _ in range(len(field.dims) - len(shape)):
        field = summed(field, 0)
        field = replace(field, dims=field.dims[1:])
    for dim, size in enumerate(shape):
        if size == 1 and field.shape[dim] > 1:
            field = summed(field, dim)
    return field


@dataclass(frozen=True)
class Factor:
    """What a gradient is multiplied by, entry by entry, as far as it does not depend on the gradient.

    square: mean of its squares; sample: its entries, of length 1 where they are alike, or None where all are; along
            dimension 0 the first of them alone, where there are many
    uneven: whether a gradient that is independent along a dimension is uneven behind it
    """

    square: float
    sample: Array | None = None
    uneven: bool = True


def scaled(field: Field, factor: Factor) -> Field:
    """Behind a product with a factor. Of two entries at different places it leaves the mean product of its own."""
    if factor.sample is None or factor.square == 0 or not (total := float(np.square(factor.sample).mean())):
        return replace(field, square=field.square * factor.square)
    sample, shape = factor.sample / sqrt(total), field.shape
    wide = [dim for dim, size in enumerate(sample.shape) if size > 1]
    correlated = [dim for dim in wide if any(_correlates(matrix) for _, matrix in field.dims[dim])]
    left = _pairs_alike(sample, correlated)
    square, dims = field.square * factor.square, list(field.dims)
    for dim in wide:
        whole, size = sample.shape[dim] == shape[dim], shape[dim]
        others = tuple(each for each in range(sample.ndim) if each != dim)
        if dim not in correlated:
            if not (factor.uneven and whole and size <= LARGEST):
                continue
            squares = np.square(sample).mean(axis=others)
            if np.abs(squares - 1).max() < UNEVEN:
                continue
            moments = np.diag(squares)
        elif len(correlated) == 1 and whole:
            rows = np.moveaxis(sample, dim, 0).reshape(size, -1)
            moments = rows @ rows.T / rows.shape[1]
        else:
            # several axes in which entries are alike: a pair that differs in all of them keeps `left` of its product
            each = max(left, 0.0) ** (1 / len(correlated))
            moments = np.full((size, size), each) + (1 - each) * np.eye(size)
            if factor.uneven and whole:
                own = np.sqrt(np.square(sample).mean(axis=others))
                moments *= np.outer(own, own)
        square, dims[dim] = _times(square, field.dims[dim], moments)
    return replace(field, square=square, dims=tuple(dims))


EVEN, UNEVEN = 1e-6, 0.05
"""Up to where mean squares along a dimension count as equal: to rounding, and those of a sample."""


def _correlates(matrix: Array | None) -> bool:
    return matrix is not None and bool(np.count_nonzero(matrix) > np.count_nonzero(np.diag(matrix)))


def _pairs_alike(sample: Array, dims: Sequence[int]) -> float:
    """The mean product of two entries at different places along these dimensions; the mean square is 1."""
    count = prod(sample.shape[dim] for dim in dims)
    if count <= 1:
        return 1.0
    together = float(np.square(sample.mean(axis=tuple(dims))).mean())
    return float((count * together - 1) / (count - 1))


def _times(square: float, dim: Dimension, moments: Array) -> tuple[float, Dimension]:
    """A dimension's correlation times those moments, of each axis apart, [size, size]."""
    axes: list[Axis] = []
    sizes = [size for size, _ in dim]
    for place, (size, matrix) in enumerate(dim):
        own = moments
        if len(dim) > 1:
            before, behind = prod(sizes[:place]), prod(sizes[place + 1 :])
            own = np.einsum("aibajb->ij", moments.reshape((before, size, behind) * 2)) / (before * behind)
        new = own * (np.eye(size) if matrix is None else matrix)
        if matrix is None and np.abs(np.diag(new) - 1).max() < EVEN:
            axes.append((size, None))
            continue
        mean = float(np.trace(new)) / size
        square, new = square * mean, new / mean if mean > 0 else new
        axes.append((size, new))
    return square, tuple(axes)


def combined(fields: Sequence[Field]) -> Field:
    """The sum of what several operations give one tensor: squares add. What two fields of one origin add up to where
    they meet is not known."""
    if len(fields) == 1:
        return fields[0]
    total = sum(each.square for each in fields)
    known = total > 0 and np.isfinite(total)
    weights = [each.square / total if known else 1 / len(fields) for each in fields]
    # what all of them have from the layers above moves them together
    noise = sum(weight * each.noise**0.5 for weight, each in zip(weights, fields, strict=True)) ** 2
    dims = tuple(_mean(parts, weights) for parts in zip(*(each.dims for each in fields), strict=True))
    origins = fields[0].origins
    for each in fields[1:]:
        origins |= each.origins
    return Field(total if _apart(fields) else nan, dims, origins, noise)


def _apart(fields: Sequence[Field]) -> bool:
    """Whether no two of them have an origin in common, or all that have are at other places of the tensor."""
    numbers = [each.origins.numbers for each in fields]
    if sum(map(len, numbers)) == len(frozenset[int]().union(*numbers)):
        return True
    for parts in zip(*(each.dims for each in fields), strict=True):
        uneven = any(matrix is not None for dim in parts for _, matrix in dim)
        if uneven and np.all(np.sum([profile(dim) > 0 for dim in parts], axis=0) <= 1):
            return True
    return False


def _plain(size: int) -> Dimension:
    return ((size, None),) if size > 1 else ()


def _split(axis: Axis, size: int) -> tuple[Axis, Axis]:
    """An axis as two, the first of them `size` long."""
    rest = axis[0] // size
    if axis[1] is None:
        return (size, None), (rest, None)
    whole = axis[1].reshape(size, rest, size, rest)
    return (size, np.einsum("iaja->ij", whole) / rest), (rest, np.einsum("aiaj->ij", whole) / size)


def _with(field: Field, dim: int, new: Dimension, factor: float) -> Field:
    return replace(field, square=field.square * factor, dims=(*field.dims[:dim], new, *field.dims[dim + 1 :]))


def _normalised(field: Field, dim: int, whole: Array) -> Field:
    """With the second moments along a dimension."""
    mean, new = dimension(whole)
    return _with(field, dim, new, mean)


def dimension(moments: Array) -> tuple[float, Dimension]:
    """Second moments along a dimension, [size, size], as their mean square and a correlation."""
    size = len(moments)
    mean = float(np.trace(moments)) / size
    if mean == 0 or size == 1:
        return mean, _plain(size)
    whole = moments / mean
    plain = np.count_nonzero(whole) == size and np.abs(np.diag(whole) - 1).max() < EVEN
    return mean, _plain(size) if plain else ((size, whole),)


def _mean(dims: Sequence[Dimension], weights: Sequence[float]) -> Dimension:
    """Weighted mean of several fields' correlations along one dimension."""
    if all(matrix is None for dim in dims for _, matrix in dim):
        return max(dims, key=len)
    sizes = {tuple(size for size, _ in dim) for dim in dims}
    if len(sizes) > 1:
        size = prod(next(iter(sizes)))
        whole = [correlation(dim) for dim in dims]
        if size > LARGEST:
            return _plain(size)
        dims = [((size, each),) for each in whole]
    axes: list[Axis] = []
    for parts in zip(*dims, strict=True):
        size = parts[0][0]
        if all(matrix is None for _, matrix in parts):
            axes.append(parts[0])
            continue
        matrices = [np.eye(size) if matrix is None else matrix for _, matrix in parts]
        axes.append((size, np.asarray(sum(w * m for w, m in zip(weights, matrices, strict=True)))))
    return tuple(axes)
