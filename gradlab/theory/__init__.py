"""Mean-field theory of wide random nets: what the signal and the gradient should do, layer by layer.

    predict("tanh", depth=50, sigma_w=1.5, sigma_b=0.2)   q, chi and delta_rms of every layer
    critical("tanh", sigma_b=0.2)                         the sigma_w that keeps the gradient alive

A constant bias moves the mean of z: everything takes it as `bias` (or `mean`). Softmax, not elementwise,
raises ConfigError.
"""

from gradlab.theory.critical import Critical, HalfStable, critical
from gradlab.theory.fixed_points import (
    FixedPoint,
    LengthMap,
    curve,
    fixed_points,
    length_map,
    reached,
    slope_map,
)
from gradlab.theory.moments import Moments, expectation, moments
from gradlab.theory.prediction import Prediction, delta_rms, predict

__all__ = [
    "Critical",
    "FixedPoint",
    "HalfStable",
    "LengthMap",
    "Moments",
    "Prediction",
    "critical",
    "curve",
    "delta_rms",
    "expectation",
    "fixed_points",
    "length_map",
    "moments",
    "predict",
    "reached",
    "slope_map",
]
