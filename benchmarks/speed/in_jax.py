"""The same trainings in JAX: `jit` of a `scan` over the steps, `vmap` over the seeds, on all cores. No recording."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.speed.script import LOGISTIC
from gradlab.config.resolve import DEFAULT_GRID, DEFAULT_GRID_STEPS
from gradlab.data import load
from gradlab.train.batches import BatchStream

PHI: dict[str, Callable[[Any], Any]] = {
    "sigmoid": jax.nn.sigmoid,
    "hard_sigmoid": lambda z: jnp.clip(0.2 * z + 0.5, 0.0, 1.0),
    "tanh": jnp.tanh,
    "linear": lambda z: z,
    "relu": jax.nn.relu,
    "leaky_relu": lambda z: jax.nn.leaky_relu(z, 0.01),
    "gelu": partial(jax.nn.gelu, approximate=False),
}


def _initial(key: Any, activation: str, sizes: list[int]) -> list[dict[str, Any]]:
    gain = 1.0 if activation in LOGISTIC else 2.0
    keys = jax.random.split(key, len(sizes) - 1)
    layers = []
    for k, fan_in, fan_out in zip(keys, sizes[:-1], sizes[1:], strict=True):
        layer = {
            "w": jax.random.normal(k, (fan_in, fan_out)) * (gain / fan_in) ** 0.5,
            "b": jnp.zeros(fan_out),
        }
        if activation == "prelu":
            layer["alpha"] = jnp.full((), 0.25)
        layers.append(layer)
    return layers


def _loss(parameters: list[dict[str, Any]], x: Any, y: Any, activation: str) -> Any:
    h = x
    for layer in parameters[:-1]:
        z = h @ layer["w"] + layer["b"]
        h = jnp.where(z > 0, z, layer["alpha"] * z) if activation == "prelu" else PHI[activation](z)
    logits = h @ parameters[-1]["w"] + parameters[-1]["b"]
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], axis=1).mean()


def _trainer(activation: str) -> Callable[..., Any]:
    def one(parameters: Any, rows: Any, x: Any, y: Any) -> Any:
        def update(parameters: Any, batch: Any) -> Any:
            loss, gradient = jax.value_and_grad(_loss)(parameters, x[batch], y[batch], activation)
            return jax.tree.map(lambda p, g: p - 0.03 * g, parameters, gradient), loss

        return jax.lax.scan(update, parameters, rows)

    return jax.jit(jax.vmap(one, in_axes=(0, 0, None, None)))


def train(
    activation: str, depth: int, *, width: int, batch: int, steps: int, seeds: int
) -> tuple[float, float]:
    """Seconds to compile and seconds to train `seeds` models side by side."""
    data = load("digits")
    x, y = jnp.asarray(data.x_train, jnp.float32), jnp.asarray(data.y_train)
    sizes = [data.features, *[width] * depth, data.classes]
    keys = jax.random.split(jax.random.key(0), seeds)
    parameters = jax.vmap(lambda key: _initial(key, activation, sizes))(keys)
    stream = BatchStream(len(data.y_train), batch, range(seeds))
    rows = jnp.asarray(np.stack([stream.next().numpy() for _ in range(steps)], axis=1))
    started = perf_counter()
    compiled = _trainer(activation).lower(parameters, rows, x, y).compile()
    between = perf_counter()
    jax.block_until_ready(compiled(parameters, rows, x, y))
    return between - started, perf_counter() - between


def main() -> None:
    """`python -m benchmarks.speed.in_jax grid` trains the default comparison.

    `... steady WIDTH BATCH STEPS ACTIVATION ...` prints the seconds to train, once compiled, five seeds of depth 20
    with each activation in turn.
    """
    if sys.argv[1] == "grid":
        for activation in DEFAULT_GRID["network.activation"]:
            for depth in DEFAULT_GRID["network.depth"]:
                train(str(activation), int(depth), width=64, batch=64, steps=DEFAULT_GRID_STEPS, seeds=3)
    else:
        width, batch, steps = map(int, sys.argv[2:5])
        trainings = [train(a, 20, width=width, batch=batch, steps=steps, seeds=5) for a in sys.argv[5:]]
        print(sum(seconds for _, seconds in trainings))


if __name__ == "__main__":
    main()
