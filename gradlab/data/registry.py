"""The built-in data sets, one entry each: what it is, and how it is read or drawn.

Every recipe draws from its own generator with a fixed seed, so the same text is the same data. A change here that
changes any number must raise RECIPE_VERSION. Free of NumPy and scikit-learn until a recipe is called.
"""

from __future__ import annotations

import gzip
import importlib.util
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gradlab.base.errors import ConfigError, DataError, Problem
from gradlab.base.grammar import Item, Parameter, Value, parse_item
from gradlab.base.registry import Registry
from gradlab.data.dataset import Samples

if TYPE_CHECKING:
    import numpy as np

    from gradlab.data.dataset import Integers

RECIPE_VERSION = 1
"""Part of every digest: raised when a recipe or the split changes, so that old results are not reused."""
SEED = 0


@dataclass(frozen=True)
class Definition:
    """One built-in. recipe: recipe(parameters) -> its table"""

    summary: str
    recipe: Callable[[Mapping[str, Value]], Samples]
    parameters: Mapping[str, Parameter] = field(default_factory=dict)


def digits(_: Mapping[str, Value]) -> Samples:
    """1797 handwritten digits of 8 x 8 pixels, 0 ... 16 (UCI optical recognition, the test part).

    Read from the file that scikit-learn ships: `sklearn.datasets.load_digits` reads the same one, after an
    import of more than a second.
    """
    import numpy as np

    spec = importlib.util.find_spec("sklearn")
    folder = ((spec and spec.submodule_search_locations) or [""])[0]
    path = Path(folder) / "datasets" / "data" / "digits.csv.gz"
    if path.is_file():
        with gzip.open(path, "rt", encoding="ascii") as lines:
            rows = np.loadtxt(lines, delimiter=",")
        x, y = rows[:, :-1], rows[:, -1].astype(np.int64)
    else:  # a scikit-learn that keeps the file elsewhere
        from sklearn.datasets import load_digits

        x, y = load_digits(return_X_y=True)
    return Samples(np.ascontiguousarray(x), y.astype(np.int64), _numbered(10))


def moons(parameters: Mapping[str, Value]) -> Samples:
    """Two interleaving half circles in the plane (scikit-learn's make_moons)."""
    import numpy as np
    from sklearn.datasets import make_moons

    x, y = make_moons(int(parameters["samples"]), noise=float(parameters["noise"]), random_state=SEED)
    return Samples(x, y.astype(np.int64), _numbered(2))


def circles(parameters: Mapping[str, Value]) -> Samples:
    """A small circle inside a large one (scikit-learn's make_circles)."""
    import numpy as np
    from sklearn.datasets import make_circles

    x, y = make_circles(
        int(parameters["samples"]),
        noise=float(parameters["noise"]),
        factor=float(parameters["factor"]),
        random_state=SEED,
    )
    return Samples(x, y.astype(np.int64), _numbered(2))


def spirals(parameters: Mapping[str, Value]) -> Samples:
    """Interleaved Archimedean spirals in the unit disc, one arm a class, each as full as the others.

    Arm k at radius r, uniform in [0.05, 1], lies at the angle 2 pi (turns r + k / classes); Gaussian noise is
    added to both coordinates. After the two-spirals task of Lang and Witbrock (1988).
    """
    import numpy as np

    samples, classes = int(parameters["samples"]), int(parameters["classes"])
    generator = np.random.RandomState(SEED)
    y = _balanced(samples, classes, generator)
    radius = generator.uniform(0.05, 1.0, samples)
    angle = 2 * np.pi * (float(parameters["turns"]) * radius + y / classes)
    x = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    x += float(parameters["noise"]) * generator.standard_normal((samples, 2))
    return Samples(x, y, _numbered(classes))


def gaussian(parameters: Mapping[str, Value]) -> Samples:
    """Independent standard normal inputs with labels independent of them, as the theory assumes."""
    import numpy as np

    samples, classes = int(parameters["samples"]), int(parameters["classes"])
    generator = np.random.RandomState(SEED)
    x = generator.standard_normal((samples, int(parameters["features"])))
    return Samples(x, _balanced(samples, classes, generator), _numbered(classes))


def mnist1d(parameters: Mapping[str, Value]) -> Samples:
    """MNIST-1D: ten 1-D digit templates, padded, scaled, shifted, sheared and noised to 40 points.

    Greydanus and Kobak, "Scaling Down Deep Learning with MNIST-1D", 2020 (arXiv:2011.14439), from the
    authors' generator with its defaults and seed: nothing is downloaded. Its own 80/20 split is kept, so that
    accuracies compare with published ones. Raises DataError when the package is not installed.
    """
    import numpy as np

    try:
        from mnist1d.data import get_dataset_args, make_dataset
    except ImportError as error:
        raise DataError(
            Problem(
                "mnist1d",
                f"the package that generates it is missing ({error})",
                hint="install it with: pip install 'gradlab[mnist1d]'",
            )
        ) from error
    arguments = get_dataset_args()
    arguments.num_samples = int(parameters["samples"])
    python_state, numpy_state = random.getstate(), np.random.get_state()
    try:
        drawn = make_dataset(arguments)  # seeds Python's and NumPy's global generators
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
    parts = [
        (np.asarray(drawn[f"x{part}"], dtype=np.float64), np.asarray(drawn[f"y{part}"], dtype=np.int64))
        for part in ("", "_test")
    ]
    return Samples(*parts[0], _numbered(10), held_out=parts[1])


def _numbered(classes: int) -> tuple[str, ...]:
    return tuple(str(label) for label in range(classes))


def _balanced(samples: int, classes: int, generator: np.random.RandomState) -> Integers:
    """Labels [samples] in random order, every class equally often but for a remainder."""
    import numpy as np

    return generator.permutation(np.arange(samples, dtype=np.int64) % classes)


def _samples(default: int, low: int = 20) -> Parameter:
    return Parameter(
        default=default,
        meaning="rows, training and validation together",
        low=low,
        high=1_000_000,
        integer=True,
    )


def _noise(default: float) -> Parameter:
    return Parameter(default=default, meaning="standard deviation of the noise on each coordinate", low=0)


def _classes(default: int) -> Parameter:
    return Parameter(default=default, meaning="number of classes", low=2, high=1000, integer=True)


DATASETS = Registry(
    "data set",
    {
        "digits": Definition(
            "1797 real handwritten digits of 8 x 8 pixels, 10 classes (scikit-learn's)", digits
        ),
        "moons": Definition(
            "two interleaving half circles in the plane",
            moons,
            {"samples": _samples(1000), "noise": _noise(0.2)},
        ),
        "circles": Definition(
            "a small circle inside a large one, in the plane",
            circles,
            {
                "samples": _samples(1000),
                "noise": _noise(0.1),
                "factor": Parameter(
                    default=0.5, meaning="radius of the small circle over the large one's", low=0, high=0.99
                ),
            },
        ),
        "spirals": Definition(
            "interleaved spirals in the plane, one arm a class",
            spirals,
            {
                "samples": _samples(1000),
                "noise": _noise(0.02),
                "classes": _classes(2),
                "turns": Parameter(default=1.5, meaning="turns of each arm", low=0, open_low=True, high=20),
            },
        ),
        "gaussian": Definition(
            "standard normal inputs with labels independent of them: the input the theory assumes",
            gaussian,
            {
                "features": Parameter(
                    default=64, meaning="number of inputs", low=1, high=100_000, integer=True
                ),
                "classes": _classes(10),
                "samples": _samples(2000),
            },
        ),
        "mnist1d": Definition(
            "MNIST-1D: ten 1-D digit shapes, shifted, sheared and noised, 40 points (extra `mnist1d`)",
            mnist1d,
            {"samples": _samples(5000, low=500)},
        ),
    },
    own=True,
)


def parse_parameters(name: str, parts: list[str], where: str) -> Item:
    """The item `name` with the parameters written in `parts`; what is behind a known name is no attribute of it."""
    for part in parts:
        if "=" not in part:
            raise ConfigError(
                Problem(where, f"{part!r} after {name!r} is not key=value", f"{name}:key=value")
            )
    return parse_item(":".join([name, *parts]), where)
