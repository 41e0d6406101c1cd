"""Mean-field theory of a gradient that goes back through the steps of a recurrent layer.

h_t = phi(z_t), z_t = W_hh h_(t-1) + W_ih x_t + b with random, independent entries of W_hh: from one step back to the
one before, E||d loss / d h||^2 changes by chi_t = N Var(W_hh) E[phi'(z_t)^2], as from layer to layer of a deep net
(Poole et al. 2016; Schoenholz et al. 2017), with z_t normal. The same weights come back in every step, which the theory
takes as if they were drawn anew; in a layer of finite width their largest eigenvalue takes over after many steps.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from gradlab.activations.spec import Array
from gradlab.theory.moments import moments


def step_factors(activation: str, gain: ArrayLike, z_sq: ArrayLike) -> Array:
    """chi_t, the factor of E||delta||^2 from each step to the one before it: [step].

    gain: N Var(W_hh) as ||W_hh||_F^2 / N; z_sq: E[z_t^2], [step]
    """
    found: Array = np.asarray(gain, dtype=np.float64) * moments(activation, z_sq).slope_sq
    return found


def through_time(chi: Array, outside_sq: Array, share: Array) -> Array:
    """E[delta^2] in each step, [step], of what comes from outside and what comes back from the step behind it.

    chi:        of each step; outside_sq: E[delta^2] of what comes to a step from outside, independent of the rest
    share:      of the samples at a step those that have a step behind it
    """
    found = np.empty_like(outside_sq)
    later = 0.0
    for step in range(len(found) - 1, -1, -1):
        found[step] = outside_sq[step] + share[step] * later
        later = chi[step] * found[step]
    return found


def carried(chi: Array) -> Array:
    """What is left in each step of a gradient of root mean square 1 in the last one, [step]."""
    back = np.concatenate([np.cumprod(chi[:0:-1])[::-1], [1.0]])
    return np.asarray(np.sqrt(back))
