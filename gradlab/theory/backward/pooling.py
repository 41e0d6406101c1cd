"""Max pooling. What averages or resamples is a known map along each axis: `field.mixed`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from gradlab.activations.spec import Array
from gradlab.theory.backward.field import LARGEST, Dimension, Field, correlation, dimension, profile


def largest(field: Field, dims: Sequence[int], windows: Sequence[Array]) -> Field:
    """Behind max pooling: each output's gradient goes to one input of its window, any of them alike, and squares add.

    windows: for each of the dimensions [out, in], 1 where an input is in an output's window
    """
    for dim, window in zip(dims, windows, strict=True):
        chance = window / np.maximum(window.sum(axis=1, keepdims=True), 1)
        squares, own = profile(field.dims[dim]) @ chance, correlation(field.dims[dim])
        if max(window.shape) > LARGEST:
            mean = float(squares.mean())
            axis: Dimension = ((window.shape[1], None),)
        else:
            whole = np.zeros((window.shape[1],) * 2)
            if own is not None:
                whole = chance.T @ (own - np.diag(np.diag(own))) @ chance
            np.fill_diagonal(whole, squares)
            mean, axis = dimension(whole)
        dims_now = (*field.dims[:dim], axis, *field.dims[dim + 1 :])
        field = replace(field, square=field.square * mean, dims=dims_now)
    return field
