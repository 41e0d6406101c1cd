"""Modules of a user's own whose parts raise, print, exit, and return what no part should."""

from __future__ import annotations

from random import Random

from fuzz.case import Case, Prepare, file, tiny
from fuzz.flags import NET
from fuzz.results_folders import copied
from fuzz.values import hostile

from gradlab.config import KEYS
from gradlab.config.keys import PARTS
from gradlab.parts.registries import REGISTRIES

OWN_KEYS = [path for path, kind in PARTS.items() if REGISTRIES[kind]().own] + ["recording.metrics"]
"""The keys that may name a user's own part."""
BODIES = r"""
raise ValueError('not today')
raise ValueError('one\ntwo\x1b[31m [/] \0')
raise ValueError
raise type('Odd', (Exception,), {'__str__': lambda self: 1 / 0})()
raise BaseException('base')
raise StopIteration
raise GeneratorExit
assert False
sys.exit(7)
sys.exit('text')
return part(*a, **k)
raise MemoryError
raise OSError(28, 'No space left on device', 'x')
warnings.warn('one\ntwo'); return good(*a, **k)
print('printed'); return good(*a, **k)
sys.stdout.write('{}\n'); return good(*a, **k)
os.write(2, b'from below\n'); return good(*a, **k)
os.chdir(os.path.dirname(os.path.dirname(__file__))); return good(*a, **k)
torch.set_default_dtype(torch.float64); return good(*a, **k)
torch.set_grad_enabled(False); return good(*a, **k)
return good(*a, **k)
return good(*a, **k) if len(calls) < 12 else missing
""".strip().splitlines()
"""What a user's function does: the lines of its body."""
RETURNS = r"""
None
1
-1.5
True
'text'
'\x1b[31m[/]\n'
[]
()
{}
object()
nan
inf
1j
10**400
NotImplemented
part
torch
torch.zeros(())
torch.zeros(0)
torch.zeros(3)
torch.zeros(2, 3, 4)
torch.tensor(nan)
torch.tensor(1j)
torch.zeros(3, 3).to_sparse()
torch.zeros(3, device='meta')
torch.tensor(True)
np.zeros(3)
np.float32(2)
a
a[0] if a else None
first(a) * nan
first(a).double()
first(a).detach()
first(a).long()
first(a)[..., :1]
first(a).T
first(a) > 0
first(a).to_sparse()
first(a).to('meta')
first(a).add_(1)
first(a).sum()
first(a).mean() * 1e38 * 1e10
first(a) + 1j
first(a).unsqueeze(0)
first(a).expand(2, *first(a).shape)
[first(a)]
(first(a), first(a))
iter([])
(i for i in range(3))
{'half-dead': 'some'}
{'x': 1}
['[/]', 'a\nb']
{'healthy': '', 'x': ''}
['']
(torch.zeros(40, 2), torch.arange(40) % 2)
(np.zeros((40, 2)), np.arange(40))
(np.ones((40, 2)), ['a', 'b'] * 20)
([[1, 2]] * 40, [0, 1] * 20)
([], [])
(np.zeros((40, 0)), np.zeros(40))
(np.full((40, 2), nan), np.arange(40) % 2)
(np.zeros((40, 2)), np.zeros((40, 2, 2)))
(np.zeros((2, 40)), np.arange(40))
(object(), object())
(None, None)
[(torch.randn(8, 2), torch.randint(0, 2, (8,)))] * 3
[(torch.randn(8, 2), torch.randn(8))] * 3
[(torch.randn(8, 2), torch.randint(0, 9, (8,)))] * 3
[(torch.zeros(0, 2), torch.zeros(0).long())] * 3
[(torch.randn(8, 2), torch.randint(0, 2, (9,)))] * 3
[(torch.full((8, 2), nan), torch.zeros(8).long())] * 3
[(None, torch.zeros(8))]
[(torch.randn(8, 2).to_sparse(), torch.zeros(8).long())] * 3
nn.Linear(2, 2)
nn.Sequential()
nn.Linear(2, 2, device='meta')
nn.Linear(2, 2).half()
nn.Identity()
nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
nn.Linear(3, 2)
nn.Embedding(3, 2)
nn.LSTM(2, 2)
nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
nn.Linear
nn.Linear(2, 2).requires_grad_(False)
""".strip().splitlines()
"""What a user's function returns, and mostly should not."""
MODULES = [
    b"def part(:\n",
    b"raise ValueError('at import')\n",
    b"import sys; sys.exit(3)\n",
    b"raise BaseException('at import')\n",
    "part = 'é'\n".encode("latin-1"),
    "# coding: latin-1\ndef part(x):\n    'é'\n    return x\n".encode("latin-1"),
    b"part = '\x00'\n",
    b"",
    b"def __getattr__(name):\n    raise RuntimeError('closed')\n",
    b"def __getattr__(name):\n    return None\n",
    b"import sys\nfrom sys import modules\npart = modules\n",
    b"import sys\nsys.modules[__name__] = None\n",
    b"import sys\ndel sys.modules[__name__]\ndef part(x):\n    return x\n",
    b"part = None\n",
    b"part = 'a text'\n",
    b"import own\npart = own.other\n",
    b"print('printed at import')\ndef part(x):\n    return x\n",
    b"import no_such_module\n",
    b"class Meta(type):\n"
    b"    def __call__(cls, *a, **k):\n"
    b"        raise ValueError('no')\n"
    b"class part(metaclass=Meta):\n"
    b"    pass\n",
    b"class P:\n"
    b"    def __getattr__(self, name):\n"
    b"        raise RuntimeError('no attribute')\n"
    b"    def __call__(self, x, *a, **k):\n"
    b"        return x\n"
    b"part = P()\n",
    b"class P:\n"
    b"    def __getattr__(self, name):\n"
    b"        return self\n"
    b"    def __call__(self, *a, **k):\n"
    b"        return self\n"
    b"part = P()\n",
    b"def part(x):\n    return x\npart.__signature__ = 'none'\n",
    b"def part(x):\n    return x\npart.__module__ = None\n",
    b"def part(x):\n"
    b"    return x\n"
    b"part.__module__ = '\\x1b[31m'\n"
    b"part.__name__ = '[/]'\n"
    b"part.__qualname__ = '\\n'\n",
    b"def part(x):\n    return x\npart.__wrapped__ = part\n",
]
"""Whole modules that are not as one expects."""
HEAD = """import os, sys, warnings
import numpy as np, torch
from torch import nn
nan, inf = float("nan"), float("inf")
def first(a):
    return a[0]
def good(*a, **k):
    return {good}
calls = []
def part(*a, **k):
    calls.append(a)
    {body}
class Layer(nn.Module):
    def __init__(self, *a, **k):
        super().__init__()
        {birth}
    def forward(self, *a, **k):
        return part(*a, **k)
class Optimizer(torch.optim.{optimizer}):
    def step(self, *a, **k):
        super().step()
        return part(*a, **k)
"""
GOOD = {
    "network.activation": "torch.relu(a[0])",
    "network.init": "torch.nn.init.normal_(a[0])",
    "network.norm": "a[0]",
    "data.name": "(np.random.default_rng(0).normal(size=(40, 2)), np.arange(40) % 2)",
    "training.optimizer": "None",
    "training.loss": "nn.functional.cross_entropy(*a)",
    "recording.metrics": "a[0].mean()",
    "model": "nn.Linear(2, 2)",
    "batches": "[(torch.randn(8, 2), torch.randint(0, 2, (8,)))] * 4",
    "ruleset": "[]",
}
ARGUMENTS = [
    "x=1",
    "x=",
    "=1",
    "x",
    "x=nan",
    "self=1",
    "a=2",
    "x=\x1b[31m",
    "x=1:x=2",
    "x=1:y=2:z=3:u=4:v=5:w=6",
    "bias=1",
    "position=post",
]


def make(r: Random) -> Case:
    """A command that uses one part of a user's own."""
    name = f"own{r.getrandbits(48):x}"
    place = r.choice([*OWN_KEYS, *OWN_KEYS, "model", "model", "batches", "ruleset"])
    if r.random() < 0.2:
        source, attribute = r.choice(MODULES), "part"
    else:
        source = HEAD.format(
            good=GOOD.get(place, "a[0]"),
            body=r.choice([*BODIES, *(f"return {each}" for each in r.sample(RETURNS, len(BODIES)))]),
            birth=r.choice(
                ["pass"] * 6
                + ["self.p = nn.Parameter(torch.ones(1))", "raise ValueError('at birth')", "part()"]
            ),
            optimizer=r.choice(["SGD", "Adam", "LBFGS", "Rprop"]),
        ).encode()
        layers = place in ("network.activation", "network.norm", "training.loss", "model")
        attribute = (
            "Optimizer"
            if place == "training.optimizer" and r.random() < 0.7
            else "Layer"
            if layers and r.random() < 0.6
            else "part"
        )
    if r.random() < 0.05:
        attribute = r.choice(
            [
                "none",
                "part.x",
                "Layer.forward",
                "__doc__",
                "__dict__",
                "part.__call__",
                "torch",
                "HEAD",
                "first.x.y",
            ]
        )
    text = f"{name}:{attribute}"
    if r.random() < 0.15:
        text += ":" + r.choice([*ARGUMENTS, hostile(r)])
    prepare: list[Prepare] = [file(f"{name}.py", source), file("net.py", NET)]
    if place == "ruleset":
        prepare.append(copied("run"))
    argv = _command(r, place, text)
    if r.random() < 0.25:
        argv.append("--json")
    return Case(
        argv,
        prepare,
        ()
        if argv[0] in ("theory", "diagnose", "config") or "--dry-run" in argv
        else ("results", "../results"),
    )


def _command(r: Random, place: str, text: str) -> list[str]:
    watched = ["--data", "moons:samples=40", "--batch-size", "8", "--steps", "2", "--seeds", "2"]
    if place == "model":
        return ["watch", text, *watched, *r.choice([[], [], ["--try"]])]
    if place == "batches":
        return ["watch", "torch.nn:Identity", "--batches", text, *watched[4:]]
    if place == "ruleset":
        return ["diagnose", "o", "--ruleset", text]
    key = KEYS[place]
    given = f"standard,{text}" if place == "recording.metrics" else text
    if place == "network.activation" and r.random() < 0.2:
        return ["theory", "--activation", text, "--depth", "3"]
    if place in ("training.loss", "training.optimizer", "recording.metrics") and r.random() < 0.25:
        return ["watch", "net:Net", *watched, key.option, given]
    argv = [*r.choice([["run"], ["run"], ["compare"], ["compare", "--dry-run"]]), *tiny(**{key.flag: given})]
    return [
        *argv,
        *r.choice(
            [[], [], [], ["--init", "critical"], ["--fix"] if argv[0] == "run" else [], ["--save-weights"]]
        ),
    ]
