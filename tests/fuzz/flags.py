"""Command lines of every command, from the flags that the command itself has."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from random import Random
from typing import Any

from fuzz.case import TINY, Case, file
from fuzz.values import OWN, hostile, item, near, value

from gradlab.analyse.rulesets import RULESETS
from gradlab.cli.listing import KINDS
from gradlab.cli.main import COMMANDS, load
from gradlab.config import KEYS
from gradlab.config.keys import BY_FLAG
from gradlab.lab.theory_sweep import NUMBERS
from gradlab.report.build import FORMATS

TRAIN = ("run", "compare", "watch")
MEASURES = ("reproduce",)  # takes a minute and more
OUTS = [
    "o",
    "a/b/c",
    "o o",
    "ö",
    "../beside",
    "../../up",
    "./o/",
    "o.csv",
    ".hidden",
    "-o",
    "[bold]o",
    "x" * 255,
    "x" * 256,
]
"""Where --out may point without leaving the folder of the case."""


@cache
def commands() -> dict[tuple[str, ...], list[Any]]:
    """The words of each command, `config show` among them, with its parameters."""
    found = {}
    for name in COMMANDS:
        command = load(name)
        inner = getattr(command, "commands", None)
        found |= (
            {(name, each): one.params for each, one in inner.items()} if inner else {(name,): command.params}
        )
    return found


def make(r: Random) -> Case:
    """A command with some of its flags, right, nearly right and wrong."""
    words, parameters = r.choice(list(commands().items()))
    if r.random() < 0.35:
        words = (r.choice(TRAIN),)
        parameters = commands()[words]
    name, trains = words[0], words[0] in TRAIN
    given: dict[str, list[str]] = {flag: [text] for flag, text in TINY.items()} if trains else {}
    arguments = [
        argument(r, name) for each in parameters if each.param_type_name == "argument" and r.random() < 0.95
    ]
    for each in r.sample(parameters, min(len(parameters), r.choice([0, 1, 1, 2, 2, 3, 4, 6]))):
        if each.param_type_name != "argument":
            flag = each.opts[0]
            given[flag] = [] if each.is_flag else [text_of(r, name, each.name, trains=trains)]
    if words == ("theory",) and r.random() < 0.9:
        given.setdefault("--activation", [item(r, "activations")])
    if name in MEASURES and not given.keys() & {"--list"}:
        arguments, given = [near(r, "nothing")], {}
    if name == "watch" and r.random() < 0.8:
        for path, key in KEYS.items():
            if path.startswith("network."):
                given.pop(key.option, None)
    if trains and not given.keys() & {"--out", "--dry-run"} and r.random() < 0.3:
        given["--out"] = [r.choice(OUTS)]
    if r.random() < 0.3:
        given["--json"] = []
    argv = [*words, *arguments, *(text for flag, texts in given.items() for text in (flag, *texts))]
    if r.random() < 0.15:
        at = r.randrange(len(argv))
        if argv[at] not in TINY.values() and "--out" not in argv[at - 1 : at + 1]:
            argv[at] = r.choice([near(r, argv[at]), hostile(r)])
        argv = _kept_small(argv)
    if r.random() < 0.05:
        argv.insert(
            r.randrange(len(argv) + 1), r.choice(["--help", "-h", "--version", "--", "stray", "--no", "-x"])
        )
    return Case(argv, [file("net.py", NET), file("c.toml", "[network]\ndepth = 1\n")], writes_of(argv))


def text_of(r: Random, command: str, name: str, *, trains: bool) -> str:
    """Something for one flag of a command."""
    if name == "out":
        return r.choice(OUTS)
    if command == "theory" and name in NUMBERS:
        most = 1000 if NUMBERS[name].integer else 1e300
        number = r.choice([NUMBERS[name].low, NUMBERS[name].high, 1.0, 0.5, 2.0, 1e-300, 1e100])
        return hostile(r) if r.random() < 0.3 else f"{min(number, most):g}"
    if command != "theory" and name in BY_FLAG:
        return value(r, BY_FLAG[name], trains=trains)
    if name == "set_":
        key = r.choice([key for key in KEYS.values() if key.path != "run.out"])
        path = near(r, key.path) if r.random() < 0.2 else key.path
        return f"{path}={value(r, key, trains=True)}"
    good = {
        "activation": lambda: item(r, "activations"),
        "init": lambda: item(r, "inits"),
        "config": lambda: r.choice(["c.toml", "none.toml", ".", "net.py"]),
        "best_over": lambda: r.choice(list(KEYS)),
        "ruleset": lambda: r.choice([*RULESETS, "all", *OWN]),
        "format_": lambda: ",".join(r.sample([each for each in FORMATS if each not in ("png", "pdf")], 2)),
        "batches": lambda: r.choice(["net:batches", "net:none", *OWN]),
    }.get(name)
    return good() if good and r.random() < 0.6 else hostile(r)


def argument(r: Random, command: str) -> str:
    """Something for an argument that has no flag."""
    good = {
        "list": lambda: r.choice(list(KINDS)),
        "watch": lambda: r.choice(["net:Net", "net:made", "net:make", "net:none", *OWN]),
        "config": lambda: r.choice(["c.toml", "new.toml", "none/new.toml", "."]),
    }.get(command)
    return good() if good and r.random() < 0.8 else hostile(r).lstrip("/")


def writes_of(argv: list[str]) -> tuple[str, ...]:
    """What a command line may write."""
    outs = [after for flag, after in pairwise(argv) if flag == "--out"]
    outs += [each.partition("=")[2] for each in argv if each.startswith("--out=")]
    words = tuple(argv[:2])
    if words == ("config", "init"):
        return tuple(argv[2:])
    if argv[:1] == ["theory"]:
        return tuple(outs)
    return (
        (*outs, "results") if argv[:1] and argv[0] in (*TRAIN, "report") and "--dry-run" not in argv else ()
    )


def _kept_small(argv: list[str]) -> list[str]:
    """A slip may have taken a flag's name away, or made a number large: then the training is left out."""
    whole = all(flag in argv and argv[argv.index(flag) + 1 :] for flag in TINY)
    return argv if (argv[:1] and argv[0] not in TRAIN) or whole else [*argv, "--depth", "x"]


NET = """
import torch
from torch import nn
class Net(nn.Sequential):
    def __init__(self, features=2, outputs=2):
        super().__init__(nn.Linear(features, 3), nn.ReLU(), nn.Linear(3, outputs))
def make():
    return nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2))
made = make()
def batches():
    for _ in range(4):
        yield torch.randn(8, 2), torch.randint(0, 2, (8,))
"""
