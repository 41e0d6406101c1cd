"""`gradlab theory`'s flags as nets to describe: comma lists of each, every combination."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from shlex import quote
from typing import Any

from gradlab.activations import Activation
from gradlab.base.errors import ConfigError, Problem, UserError
from gradlab.base.grammar import Parameter
from gradlab.parts import inits
from gradlab.tables.csv_text import escaped
from gradlab.theory.describe import Description, describe
from gradlab.theory.fixed_points import Curve, curve
from gradlab.theory.moments import elementwise
from gradlab.theory.phase import phase_diagram

DEFAULT_WIDTH = 64  # fan-in and fan-out for an init whose sigma depends on them, when no width is given
DEFAULT_DEPTH = 20
GRID_SIGMA_W = tuple(round(0.25 * step, 2) for step in range(2, 13))  # a phase diagram's default: 0.5 ... 3
GRID_SIGMA_B = tuple(round(0.1 * step, 1) for step in range(11))  # 0 ... 1

NUMBERS = {
    "sigma_w": Parameter(default=None, low=0, open_low=True, high=1e100, meaning="weight scale"),
    "sigma_b": Parameter(default=0.0, low=0, high=1e100, meaning="standard deviation of the biases"),
    "q0": Parameter(default=1.0, low=0, meaning="mean square of the input"),
    "depth": Parameter(
        default=float(DEFAULT_DEPTH), low=1, high=100_000, integer=True, meaning="hidden layers"
    ),
    "width": Parameter(default=None, low=1, integer=True, meaning="units in each hidden layer"),
}


@dataclass(frozen=True)
class Sweep:
    """What the flags ask for. Lists in the order given; `inits` is empty where sigma_w was given."""

    activations: tuple[Activation, ...]
    inits: tuple[str, ...]
    numbers: Mapping[str, tuple[float, ...]]


def read_flags(flags: Mapping[str, str | None], *, diagram: bool = False) -> Sweep:
    """The sweep that the flags (name -> text, None where not given) ask for.

    A phase diagram is over sigma_w and sigma_b: --init, --depth and --width say nothing there.
    Raises ConfigError with every problem: unknown names, numbers out of range, softmax, --init beside --sigma-w.
    """
    problems: list[Problem] = []

    def each(name: str, parse: Callable[[str, str], Any]) -> tuple[Any, ...]:
        where = "--" + name.replace("_", "-")
        found = []
        for text in (flags.get(name) or "").split(",") if flags.get(name) is not None else ():
            try:
                found.append(parse(text.strip(), where))
            except UserError as error:
                problems.extend(error.problems)
        return tuple(found)

    names = each("activation", lambda text, where: elementwise(text, where)[0])
    numbers = {name: each(name, parameter.parse) for name, parameter in NUMBERS.items()}
    wanted = each("init", lambda text, where: text)
    for text, activation in product(wanted, names):
        try:
            _moments_of(text, activation, DEFAULT_WIDTH)
        except UserError as error:
            problems.extend(problem for problem in error.problems if problem not in problems)
    if wanted and (numbers["sigma_w"] or numbers["sigma_b"]):
        problems.append(
            Problem(
                "--init", "an init states sigma_w and sigma_b itself", "--init, or --sigma-w with --sigma-b"
            )
        )
    elif numbers["sigma_b"] and not numbers["sigma_w"] and not diagram:
        problems.append(Problem("--sigma-b", "--sigma-w is missing", "both, or --init", "--sigma-w 1"))
    if diagram:
        given = [name for name in ("init", "depth", "width") if flags.get(name) is not None]
        given += ["q0"] if len(numbers["q0"]) > 1 else []
        problems += [
            Problem(f"--{name}", "a phase diagram has no such axis", "--sigma-w, --sigma-b") for name in given
        ]
    if problems:
        raise ConfigError(problems)
    return Sweep(names, wanted if numbers["sigma_w"] else wanted or ("auto",), numbers)


def descriptions(sweep: Sweep) -> list[Description]:
    """One description per combination, the last flag varying fastest."""
    depths, q0s = (sweep.numbers[name] or (float(NUMBERS[name].default or 0),) for name in ("depth", "q0"))
    widths: Sequence[float | None] = sweep.numbers["width"] or (None,)
    found = []
    for activation in sweep.activations:
        curves: dict[float, Curve] = {}
        for width in widths:
            if sweep.inits:
                draws = [_moments_of(text, activation, int(width or DEFAULT_WIDTH)) for text in sweep.inits]
            else:
                pairs = product(sweep.numbers["sigma_w"], sweep.numbers["sigma_b"] or (0.0,))
                draws = [(sigma_w, sigma_b, 0.0) for sigma_w, sigma_b in pairs]
            for (sigma_w, sigma_b, bias), depth, q0 in product(draws, depths, q0s):
                if bias not in curves:
                    curves[bias] = curve(activation, mean=bias)
                found.append(
                    describe(
                        activation,
                        sigma_w=sigma_w,
                        sigma_b=sigma_b,
                        bias=bias,
                        depth=int(depth),
                        q0=q0,
                        width=None if width is None else int(width),
                        moment_curve=curves[bias],
                    )
                )
    return found


def diagrams(sweep: Sweep) -> list[dict[str, Any]]:
    """A phase diagram of each activation, over the given sigma_w and sigma_b or a default grid."""
    (q0,) = sweep.numbers["q0"] or (1.0,)
    return [
        phase_diagram(
            activation,
            sigma_w=sweep.numbers["sigma_w"] or GRID_SIGMA_W,
            sigma_b=sweep.numbers["sigma_b"] or GRID_SIGMA_B,
            q0=q0,
        )
        for activation in sweep.activations
    ]


def next_command(document: Mapping[str, Any]) -> str:
    """One line that measures what a document (of a net, or a phase diagram) predicts."""
    if "grid" in document:
        point = next((row for row in document["critical_line"] if row["sigma_w"]), document["grid"][0])
    else:
        point = document
    init = f"gaussian:sigma_w={point['sigma_w']:.6g}:sigma_b={point['sigma_b']:.6g}"
    depth = f" --depth {len(document['layers'])}" if "layers" in document else ""
    return f"next: gradlab run --activation {quote(document['activation'])} --init {init}{depth}"


def to_csv(documents: Sequence[Mapping[str, Any]]) -> str:
    """A row per layer of every document, the document's own values repeated; empty where there is none."""
    rows = []
    for document in documents:
        common = {key: value for key, value in document.items() if key not in ("half_stable", "layers")}
        half = document["half_stable"] or dict.fromkeys(("sigma_w", "sigma_b", "q"))
        common |= {f"half_stable_{key}": value for key, value in half.items()}
        rows += [common | layer for layer in document["layers"]]
    return rows_to_csv(rows)


def rows_to_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as CSV with a header; numbers read back as the same float."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), restval="", lineterminator="\n")
    writer.writeheader()
    texts = ({k: escaped(v) if isinstance(v, str) else v for k, v in row.items()} for row in rows)
    writer.writerows(texts)
    return text.getvalue()


def _moments_of(text: str, activation: Activation, width: int) -> tuple[float, float, float]:
    """(sigma_w, sigma_b, bias) of an init on square layers. Raises ConfigError where the theory has no say."""
    init = inits.get(text, activation, "--init", own=True)
    if init.sigma_w is None or not init.predicted:
        raise ConfigError(
            Problem("--init", f"mean-field theory makes no prediction for {text!r}", "another, or --sigma-w")
        )
    return init.sigma_w(width, width), init.sigma_b(width, width), init.bias
