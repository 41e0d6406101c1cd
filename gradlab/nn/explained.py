"""R^2: the share of the variance of numbers that a net's outputs explain."""

from __future__ import annotations

import torch
from torch import Tensor

from gradlab.nn.statistics import wide_dtype


class Explained:
    """R^2 = 1 - sum (y - output)^2 / sum (y - mean of y)^2 of each target over all samples, then the mean over the
    targets, as scikit-learn's r2_score gives it: 1 for outputs that hit, 0 for the best constant, below 0 for worse,
    and -inf where an output is not a number. Standardised targets give the same R^2 as they do in their own units.

    truth: every target that will be compared, [sample, target]
    """

    def __init__(self, truth: Tensor) -> None:
        wide = truth.to(wide_dtype(truth))
        self._total = (wide - wide.mean(dim=0)).square().sum(dim=0)
        self._left: Tensor | None = None

    @property
    def defined(self) -> bool:
        """Whether every target varies; else R^2 does not exist."""
        return bool((self._total > 0).all())

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        """Some of the samples, in any order: [replica, sample, target] both."""
        wide = self._total.dtype
        squares = (outputs.detach().to(wide) - targets.to(wide)).square().sum(dim=1)
        self._left = squares if self._left is None else self._left + squares

    def share(self) -> Tensor:
        """R^2 of each replica, [replica]."""
        assert self._left is not None
        return (1 - self._left.nan_to_num(nan=torch.inf) / self._total).mean(dim=1)
