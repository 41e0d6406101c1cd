"""Mean-field theory of wide random nets: what the signal and the gradient should do, layer by layer.

    predict("tanh", depth=50, sigma_w=1.5, sigma_b=0.2)   q, chi and delta_rms of every layer
    critical("tanh", sigma_b=0.2)                         the sigma_w that keeps the gradient alive
    predict_stream("relu", depth=50, sigma_w=1.414, norm=LayerNormalisation("layer"), skip="sum")   norms, residuals
    describe("tanh", sigma_w=1.5, sigma_b=0.2)            all of it at once: what `gradlab theory` shows

A constant bias moves the mean of z: everything takes it as `bias` (or `mean`). Softmax, not elementwise,
raises ConfigError.
"""

from gradlab.theory.band import Band, band
from gradlab.theory.correlation import (
    CorrelationFixedPoint,
    correlation_fixed_point,
    correlation_map,
    correlations,
    pair_means,
)
from gradlab.theory.critical import Critical, HalfStable, critical
from gradlab.theory.describe import Description, LayerPrediction, describe
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
from gradlab.theory.normed import LayerNormalisation, mixing
from gradlab.theory.phase import phase_diagram
from gradlab.theory.prediction import Prediction, delta_rms, predict
from gradlab.theory.residual import Skip, StreamPrediction, predict_stream

__all__ = [
    "Band",
    "CorrelationFixedPoint",
    "Critical",
    "Description",
    "FixedPoint",
    "HalfStable",
    "LayerNormalisation",
    "LayerPrediction",
    "LengthMap",
    "Moments",
    "Prediction",
    "Skip",
    "StreamPrediction",
    "band",
    "correlation_fixed_point",
    "correlation_map",
    "correlations",
    "critical",
    "curve",
    "delta_rms",
    "describe",
    "expectation",
    "fixed_points",
    "length_map",
    "mixing",
    "moments",
    "pair_means",
    "phase_diagram",
    "predict",
    "predict_stream",
    "reached",
    "slope_map",
]
