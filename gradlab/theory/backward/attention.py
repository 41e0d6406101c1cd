"""Softmax attention: o_i = sum_j A_ij v_j with A = softmax(scale q k^T).

The values get A^T delta: with uniform attention over T positions the gradient of one position is spread over all, and
that of all is averaged. Queries and keys get it through the softmax, whose Jacobian takes the mean over the keys away:

    d q_i = scale sum_j A_ij (d o_i . (v_j - v_i)) k_j,   d k_j = scale sum_i A_ij (d o_i . (v_j - v_i)) q_i,

v_i = sum_j A_ij v_j. For d o isotropic, of variance s and independent of q, k and v, the first has
E ||d q_i||^2 = s scale^2 ||sum_j A_ij (v_j - v_i) k_j^T||_F^2: the values' and keys' cross-correlation as it is.
Independence of q, k and v would not give it, as all three are made of the same tokens (Noci et al. 2022).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from gradlab.activations.spec import Array
from gradlab.theory.backward.field import Field, Origins, coherence, correlation, dimension, profile


@dataclass(frozen=True)
class Attention:
    """weights: A of some heads and samples, [head, query, key]; of_queries: [query, query], the mean product of
    scale sum_j A_ij (v_j - v_i) k_j^T at two queries; of_keys: [query, key], what each query alone gives each key;
    of_all: [key], what they give it when delta is the same in all of them
    """

    weights: Array
    of_queries: Array
    of_keys: Array
    of_all: Array

    @classmethod
    def of(cls, weights: Array, q: Array, k: Array, v: Array, scale: float) -> Attention:
        """weights [head, query, key]; q, k, v [head, position, unit]"""
        mean = weights @ v
        each = np.einsum("hij,hjv,hjk->hivk", weights, v, k, optimize=True)
        each -= mean[..., :, None] * (weights @ k)[..., None, :]
        flat = each.reshape(*each.shape[:2], -1)
        # ||v_j - mean_i||^2
        apart = (
            np.square(v).sum(-1)[:, None]
            - 2 * mean @ v.transpose(0, 2, 1)
            + np.square(mean).sum(-1)[..., None]
        )
        alone = np.square(weights) * np.maximum(apart, 0) * np.square(q).sum(-1)[..., None]
        over = weights.transpose(0, 2, 1)
        together = np.einsum("hjv,hjk->hjvk", v, over @ q)
        together -= np.einsum("hij,hiv,hik->hjvk", weights, mean, q, optimize=True)
        return cls(
            weights,
            scale**2 * (flat @ flat.transpose(0, 2, 1)).mean(0),
            scale**2 * alone.mean(0),
            scale**2 * np.square(together).sum((-2, -1)).mean(0),
        )

    def back(self, field: Field, units: int) -> tuple[Field, Field, Field]:
        """Of the queries, keys and values; the field is [..., query, unit], and queries and keys have `units`."""
        dim = len(field.dims) - 2
        queries = self.weights.shape[1]
        own, squares = correlation(field.dims[dim]), profile(field.dims[dim])
        given = np.eye(queries) if own is None else own
        one = 1 / max(queries, 1)
        share = min(max((coherence(field.dims[dim]) - one) / (1 - one), 0.0), 1.0) if queries > 1 else 1.0
        of_keys = (1 - share) * (squares @ self.of_keys) + share * self.of_all
        weighted = self.weights.transpose(0, 2, 1) @ given @ self.weights
        return (
            _of(field, dim, given * self.of_queries / units, units),
            _of(field, dim, np.diag(of_keys) / units, units),
            _of(field, dim, weighted.mean(0), field.shape[-1], field.origins),
        )


def _of(field: Field, dim: int, whole: Array, units: int, origins: Origins | None = None) -> Field:
    mean, axis = dimension(whole)
    last = field.dims[-1] if origins is not None else ((units, None),) if units > 1 else ()
    return replace(
        field,
        square=field.square * mean,
        dims=(*field.dims[:dim], axis, last),
        origins=origins or field.origins.renewed(),
    )
