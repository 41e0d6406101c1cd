"""Ways to break the physics, each a context manager: what a reproduction must notice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch

Mutation = Callable[[], AbstractContextManager[None]]
MUTATIONS: dict[str, Mutation] = {}


def mutation(change: Callable[[pytest.MonkeyPatch], None]) -> Mutation:
    @contextmanager
    def broken() -> Iterator[None]:
        from gradlab.parts import inits

        with pytest.MonkeyPatch.context() as patch:
            # what is kept for the life of a process must not outlive the break, nor hide it
            patch.setattr(import_module("gradlab.theory.fixed_points"), "_CURVES", {})
            patch.setattr(inits, "_derivations", {})
            change(patch)
            _forget_shapes()
            try:
                yield
            finally:
                _forget_shapes()

    MUTATIONS[change.__name__] = broken
    return broken


def _forget_shapes() -> None:
    """Shaped activations are solved for once a process."""
    from gradlab.activations import registry

    for solved in (registry.dks, registry.tat):
        solved.cache_clear()


def _weights(patch: pytest.MonkeyPatch, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    from gradlab.nn.mlp import StackedLinear
    from gradlab.papers import random_nets

    original, drawn = StackedLinear.__init__, random_nets.weights_from
    patch.setattr(StackedLinear, "__init__", lambda self, weight, bias: original(self, change(weight), bias))
    patch.setattr(random_nets, "weights_from", lambda *args: change(drawn(*args)))


def _everywhere(patch: pytest.MonkeyPatch, name: str, change: Any) -> None:
    """Replace what the modules of results import from each other by name."""
    from gradlab.papers import recurrent_nets, transformers
    from gradlab.papers.registry import PAPERS

    results = [import_module(paper.module) for paper in PAPERS.values()]
    for module in [*results, recurrent_nets, transformers]:
        if hasattr(module, name):
            patch.setattr(module, name, change)


@mutation
def wrong_gain(patch: pytest.MonkeyPatch) -> None:
    """Weights a quarter too large."""
    _weights(patch, lambda weight: weight * 1.25)


@mutation
def positive_weights(patch: pytest.MonkeyPatch) -> None:
    """The sign of the draw is lost."""
    _weights(patch, torch.Tensor.abs)


@mutation
def half_of_the_weights(patch: pytest.MonkeyPatch) -> None:
    """Weights of half the size."""
    _weights(patch, lambda weight: weight * 0.5)


@mutation
def tied_units(patch: pytest.MonkeyPatch) -> None:
    """Two units of every layer are the same: fewer independent ones than fan_in says."""
    _weights(
        patch,
        lambda weight: weight[..., : (weight.shape[-1] + 1) // 2].repeat_interleave(2, -1)[
            ..., : weight.shape[-1]
        ],
    )


def _rooms(*names: str) -> list[Any]:
    """Modules of the theory: the package's attributes of these names are functions."""
    return [import_module(f"gradlab.theory.{name}") for name in names]


def _theory(patch: pytest.MonkeyPatch, change: Callable[..., Any]) -> None:
    """Wrap the quadrature wherever it is used."""
    moments, correlation, band, quadrature = _rooms("moments", "correlation", "band", "quadrature")
    original = quadrature.gaussian_mean
    for module in (moments, correlation, band):
        patch.setattr(module, "gaussian_mean", lambda *a, **k: change(original, *a, **k))


@mutation
def gauss_hermite(patch: pytest.MonkeyPatch) -> None:
    """180 Gauss-Hermite nodes that know nothing of kinks."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(180)
    weights = weights / weights.sum()

    def plain(_: object, integrand: Any, mean: Any, deviation: Any, **__: object) -> Any:
        x = np.broadcast_to(nodes, (len(mean), len(nodes)))
        z = mean[:, None] + deviation[:, None] * x
        value = (integrand(z, x) * weights).sum(axis=-1)
        return value, np.zeros_like(value)

    _theory(patch, plain)


@mutation
def density_too_large(patch: pytest.MonkeyPatch) -> None:
    """The normal density integrates to 1.01."""

    def scaled(original: Any, *args: Any, **options: Any) -> Any:
        value, error = original(*args, **options)
        return 1.01 * value, error

    _theory(patch, scaled)


@mutation
def signals_too_different(patch: pytest.MonkeyPatch) -> None:
    """Expectations over two inputs are taken at nine tenths of their correlation."""
    from gradlab import theory

    (correlation,) = _rooms("correlation")
    original = correlation.pair_means

    def pair_means(activation: Any, q: float, c: float, **options: Any) -> tuple[float, float]:
        signal, slope = original(activation, q, 0.9 * c, **options)
        return signal, 0.9 * slope

    patch.setattr(correlation, "pair_means", pair_means)
    patch.setattr(theory, "pair_means", pair_means)


@mutation
def slope_too_large(patch: pytest.MonkeyPatch) -> None:
    """phi' two per cent too large in the theory."""
    moments, correlation, band = _rooms("moments", "correlation", "band")
    original = moments.elementwise

    def elementwise(*args: Any, **options: Any) -> Any:
        found, phi, slope = original(*args, **options)
        return found, phi, lambda z: 1.02 * slope(z)

    for module in (moments, correlation, band):
        patch.setattr(module, "elementwise", elementwise)


@mutation
def steeper_slope_map(patch: pytest.MonkeyPatch) -> None:
    """chi without one of its hundredths."""
    from gradlab import theory

    original = theory.slope_map
    patch.setattr(theory, "slope_map", lambda *a, **k: 0.99 * original(*a, **k))


@mutation
def flat_length_map(patch: pytest.MonkeyPatch) -> None:
    """The derivative of the length map halved: unstable points look stable."""
    from dataclasses import replace

    (fixed_points,) = _rooms("fixed_points")
    original = fixed_points.moments

    def moments(*args: Any, **options: Any) -> Any:
        found = original(*args, **options)
        return replace(found, phi_sq_by_q=found.phi_sq_by_q / 2)

    patch.setattr(fixed_points, "moments", moments)


@mutation
def flipped_sign(patch: pytest.MonkeyPatch) -> None:
    """Activations of the nets with the sign of their input flipped, and a third of the input added."""
    from gradlab.activations.modules import Elementwise

    patch.setattr(Elementwise, "forward", lambda self, z: self.kernel(-z) + z / 3)


@mutation
def correlated_cotangent(patch: pytest.MonkeyPatch) -> None:
    """The output itself goes back instead of an independent cotangent."""
    from gradlab.papers import random_nets

    original = torch.autograd.grad

    def grad(outputs: Any, inputs: Any, cotangent: Any = None, **options: Any) -> Any:
        if isinstance(inputs, list) and cotangent is not None:
            cotangent = outputs.detach()
        return original(outputs, inputs, cotangent, **options)

    patch.setattr(random_nets.torch.autograd, "grad", grad)


@mutation
def lost_gradient(patch: pytest.MonkeyPatch) -> None:
    """Every linear map's gradient with respect to its weight loses a part that depends on the layer."""
    from gradlab.papers import random_nets

    original = random_nets.forward_backward

    def broken(mlp: Any, x: Any, **options: Any) -> Any:
        from dataclasses import replace

        found = original(mlp, x, **options)
        weights = [g * (1 + 0.5 * layer) for layer, g in enumerate(found.weight_gradients)]
        delta = [d * 1.08**layer for layer, d in enumerate(found.delta)]
        return replace(found, weight_gradients=weights, delta=delta)

    _everywhere(patch, "forward_backward", broken)


@mutation
def no_training(patch: pytest.MonkeyPatch) -> None:
    """The optimiser never moves anything."""
    from gradlab.parts.optimizers import Update

    patch.setattr(Update, "step", lambda self, gradients, lr: None)


@mutation
def isometry(patch: pytest.MonkeyPatch) -> None:
    """Every net that is trained is linear and orthogonal."""
    _built_as(patch, "linear", "orthogonal")


@mutation
def tanh_for_sigmoid(patch: pytest.MonkeyPatch) -> None:
    """Training confuses sigmoid with tanh and normalised with standard weights."""
    _built_as(patch, "tanh", "glorot")


def _built_as(patch: pytest.MonkeyPatch, activation: str, init: str) -> None:
    from gradlab import activations
    from gradlab.parts import inits
    from gradlab.train import loop

    original = loop.build_mlp
    phi = activations.get(activation)
    other = {"activation": phi, "init": inits.get(init, phi)}
    patch.setattr(loop, "build_mlp", lambda **options: original(**options | other))
    patch.setattr(loop, "buffered_pass", lambda *_: None)  # it would apply the activation that was asked for


@mutation
def open_branches(patch: pytest.MonkeyPatch) -> None:
    """Branches that should start at 0 start at 1."""
    from gradlab.parts.residuals import Fixup, ReZero, SkipInit

    for scheme in (ReZero, SkipInit):
        patch.setattr(scheme, "learned", lambda self, layer: {"scale": 1.0} if self.ends_block(layer) else {})
    patch.setattr(Fixup, "weight_factor", lambda self, layer: 1.0)


@mutation
def one_block_more(patch: pytest.MonkeyPatch) -> None:
    """Paths are counted through 57 blocks."""
    from math import comb

    from gradlab.papers import residual_schemes

    patch.setattr(residual_schemes, "comb", lambda n, k: comb(n + 3, k))


@mutation
def no_scaling(patch: pytest.MonkeyPatch) -> None:
    """Layer-sequential unit variance does nothing."""
    from gradlab.train import loop

    patch.setattr(loop, "scale_to_unit_variance", lambda *args: None)


@mutation
def other_constants(patch: pytest.MonkeyPatch) -> None:
    """SELU's two constants, each two per cent off."""
    from gradlab.activations import registry

    patch.setattr(registry, "SELU_ALPHA", registry.SELU_ALPHA * 1.02)
    patch.setattr(registry, "SELU_SCALE", registry.SELU_SCALE * 1.02)


@mutation
def leaking_zero(patch: pytest.MonkeyPatch) -> None:
    """phi' two per cent too large and phi lifted by a hundredth, in the functions themselves."""
    import dataclasses

    from gradlab import activations

    original = activations.get

    def get(text: str, where: str = "activation", **others: Any) -> Any:
        found = original(text, where, **others)
        if found.phi is None:
            return found
        phi, slope = found.phi, found.slope
        return dataclasses.replace(found, phi=lambda z: phi(z) + 0.01, slope=lambda z: 1.02 * slope(z))

    patch.setattr(activations, "get", get)


@mutation
def bent_softmax(patch: pytest.MonkeyPatch) -> None:
    """Softmax over the wrong temperature, not normalised."""
    from gradlab.activations.modules import Elementwise

    original = Elementwise.forward
    patch.setattr(Elementwise, "forward", lambda self, z: original(self, z * 1.1) * 1.01 + 0.01 * z**2)


@mutation
def batch_of_three_less(patch: pytest.MonkeyPatch) -> None:
    """Batch norm divides by a standard deviation that is taken as given: no gradient goes through it."""
    from dataclasses import replace

    from gradlab.parts.norms import NORMS

    def compute(z: torch.Tensor, state: Any, parameters: Any) -> torch.Tensor:
        var, mean = torch.var_mean(z, dim=1, keepdim=True, correction=0)
        return (z - mean.detach()) * torch.rsqrt(var.detach() + parameters["eps"])

    patch.setitem(NORMS._entries, "batch", replace(NORMS["batch"], compute=compute))


@mutation
def late_zeros(patch: pytest.MonkeyPatch) -> None:
    """The recorder counts |h| < 0.3 as zero."""
    from gradlab.sensors import layers as stack

    original = stack.LayerSensor._count_batch

    def count(self: Any, some: Any, z: Any, h: torch.Tensor, learned: Any) -> None:
        original(self, some, z, torch.where(h.abs() < 0.3, torch.zeros_like(h), h), learned)

    patch.setattr(stack.LayerSensor, "_count_batch", count)


@mutation
def orthogonal_weights(patch: pytest.MonkeyPatch) -> None:
    """Every square draw comes out orthogonal."""

    def change(weight: torch.Tensor) -> torch.Tensor:
        return torch.linalg.qr(weight)[0] if weight.shape[-1] == weight.shape[-2] else weight

    _weights(patch, change)


@mutation
def heavier_loss(patch: pytest.MonkeyPatch) -> None:
    """The one-logit loss counts a tenth too much."""
    from gradlab.papers import article_shapes

    original = article_shapes.binary_cross_entropy
    patch.setattr(article_shapes, "binary_cross_entropy", lambda *args: 1.1 * original(*args))


@mutation
def shortcuts(patch: pytest.MonkeyPatch) -> None:
    """Every net that is trained has skip connections and starts as the identity."""
    from gradlab.parts import residuals
    from gradlab.train import loop

    original = loop.build_mlp

    def build_mlp(**options: Any) -> Any:
        return original(**options | {"residual": residuals.get("rezero", options["depth"])})

    patch.setattr(loop, "build_mlp", build_mlp)


@mutation
def idle_norms(patch: pytest.MonkeyPatch) -> None:
    """Batch and layer norm leave their input as it is."""
    from dataclasses import replace

    from gradlab.parts.norms import NORMS

    for name in ("batch", "layer"):
        patch.setitem(NORMS._entries, name, replace(NORMS[name], compute=lambda z, state, parameters: z))


@mutation
def isometries(patch: pytest.MonkeyPatch) -> None:
    """Every layer is linear and orthogonal."""
    from gradlab.activations.modules import Elementwise

    _weights(
        patch, lambda weight: torch.linalg.qr(weight)[0] if weight.shape[-1] == weight.shape[-2] else weight
    )
    patch.setattr(Elementwise, "forward", lambda self, z: z + 0)


@mutation
def half_of_the_density(patch: pytest.MonkeyPatch) -> None:
    """The normal density integrates to a half."""

    def halved(original: Any, *args: Any, **options: Any) -> Any:
        value, error = original(*args, **options)
        return 0.5 * value, error

    _theory(patch, halved)


@mutation
def no_saturation(patch: pytest.MonkeyPatch) -> None:
    """The theory takes z for tanh(z)."""
    modules = _rooms("moments", "correlation", "band")
    original = modules[0].elementwise

    def elementwise(*args: Any, **options: Any) -> Any:
        found, phi, slope = original(*args, **options)
        return (found, lambda z: z, np.ones_like) if found.name == "tanh" else (found, phi, slope)

    for module in modules:
        patch.setattr(module, "elementwise", elementwise)


@mutation
def larger_power(patch: pytest.MonkeyPatch) -> None:
    """The power of ReLU is a twentieth larger than it says."""
    from gradlab.papers import yang_schoenholz_2017

    original = yang_schoenholz_2017.rectified_power
    patch.setattr(yang_schoenholz_2017, "rectified_power", lambda power, depth: original(power + 0.05, depth))


@mutation
def units_more(patch: pytest.MonkeyPatch) -> None:
    """The walk's mean and variance are those of twenty units more."""
    from gradlab.papers import sussillo_2014

    original = sussillo_2014.log_step
    patch.setattr(sussillo_2014, "log_step", lambda activation, units: original(activation, units + 20))


@mutation
def other_gain(patch: pytest.MonkeyPatch) -> None:
    """torch recommends the gain of linear layers for SELU."""
    patch.setattr(torch.nn.init, "calculate_gain", lambda name: 1.0)


@mutation
def no_clipping(patch: pytest.MonkeyPatch) -> None:
    """Clipping leaves every gradient as it is."""
    _everywhere(patch, "clip", lambda owners, gradients, norms, limit: list(gradients))


@mutation
def always_clipping(patch: pytest.MonkeyPatch) -> None:
    """Gradients below the threshold are stretched to it."""
    _everywhere(
        patch,
        "clip",
        lambda owners, gradients, norms, limit: [g * (limit / norms).reshape(-1, 1, 1) for g in gradients],
    )


@mutation
def clipped_entries(patch: pytest.MonkeyPatch) -> None:
    """Every entry is clipped by itself."""
    _everywhere(
        patch,
        "clip",
        lambda owners, gradients, norms, limit: [
            g.clamp(-limit / g[0].numel() ** 0.5, limit / g[0].numel() ** 0.5) for g in gradients
        ],
    )


@mutation
def gates_half_open(patch: pytest.MonkeyPatch) -> None:
    """The theory's gates are 1/2, whatever comes."""
    from gradlab.papers import chen_2018

    patch.setattr(chen_2018, "gate_moments", lambda variance, bias: (0.25, 0.25, 0.0))


@mutation
def no_norm(patch: pytest.MonkeyPatch) -> None:
    """The transformers' layer norm leaves its input as it is."""
    _everywhere(patch, "normed", lambda x: x)


@mutation
def no_softmax(patch: pytest.MonkeyPatch) -> None:
    """Scores are taken for attention."""
    _everywhere(
        patch, "attention", lambda x, query, key: (x @ query) @ (x @ key).mT / x.shape[-1] ** 0.5 / x.shape[1]
    )


@mutation
def leaning_attention(patch: pytest.MonkeyPatch) -> None:
    """A tenth of every token's attention is its own."""
    from gradlab.papers.transformers import attention as original

    _everywhere(
        patch, "attention", lambda x, query, key: 0.9 * original(x, query, key) + 0.1 * torch.eye(x.shape[1])
    )


@mutation
def nothing_in_common(patch: pytest.MonkeyPatch) -> None:
    """Tokens that should be alike have nothing in common."""
    from gradlab.papers import noci_2022

    original = noci_2022.noise
    patch.setattr(noci_2022, "noise", lambda name, *shape: original(name, *shape) * (name != "common"))


@mutation
def cut_skips(patch: pytest.MonkeyPatch) -> None:
    """Attention layers lose their skip connections."""
    from gradlab.papers import dong_2021

    original = dong_2021.layer
    patch.setattr(dong_2021, "layer", lambda x, nth, skip=False: original(x, nth))


@mutation
def plain_post_norm(patch: pytest.MonkeyPatch) -> None:
    """DeepNorm's two constants are 1."""
    from gradlab.papers import wang_2022

    patch.setattr(wang_2022, "constants", lambda blocks: (1.0, 1.0))


@mutation
def one_more_block(patch: pytest.MonkeyPatch) -> None:
    """Activations are shaped for a net with one residual block more."""
    from gradlab.papers import martens_2021

    patch.setattr(martens_2021, "GROUPS", (3, 4, 24, 3))


@mutation
def shaped_beside_the_target(patch: pytest.MonkeyPatch) -> None:
    """The quadrature by which activations are shaped is one per cent too large."""
    from gradlab.activations import shaping

    original = shaping.normal_mean
    patch.setattr(shaping, "normal_mean", lambda function, kink: 1.01 * original(function, kink))


@mutation
def swapped_rates(patch: pytest.MonkeyPatch) -> None:
    """The standard parametrisation is taken for the maximal one."""
    from gradlab.papers import yang_hu_2021

    original = yang_hu_2021.moves
    other = {"lecun": "mup", "mup": "lecun"}
    patch.setattr(
        yang_hu_2021, "moves", lambda width, init, **rest: original(width, init=other[init], **rest)
    )


@mutation
def lengths_for_means(patch: pytest.MonkeyPatch) -> None:
    """A layer's move is its length, not its root mean square."""
    from gradlab.papers import yang_hu_2021

    original = yang_hu_2021.moves
    patch.setattr(yang_hu_2021, "moves", lambda width, **rest: width**0.5 * original(width, **rest))


@mutation
def tenfold_sharpness(patch: pytest.MonkeyPatch) -> None:
    """The Hessian's eigenvalues are ten times too large."""
    from gradlab.sensors.extra import sharpness

    original = sharpness.hessian

    def hessian(observed: Any) -> Any:
        product, size = original(observed)
        return lambda vector: 10 * product(vector), size

    patch.setattr(sharpness, "hessian", hessian)


@mutation
def slow_ascent(patch: pytest.MonkeyPatch) -> None:
    """Descent goes up, a thousandth as fast."""
    from gradlab.parts.optimizers import Update

    original = Update.step
    patch.setattr(Update, "step", lambda self, gradients, lr: original(self, gradients, -lr / 1000))


@mutation
def start_sharp(patch: pytest.MonkeyPatch) -> None:
    """Descent starts where the loss is sharper than it can hold."""
    _weights(patch, lambda weight: 3 * weight)
