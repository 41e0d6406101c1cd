"""What a fuzzer writes for a value: the allowed, the nearly allowed, the extreme, and what is no value at all.

Keys, parts and their parameters are read off gradlab's own tables, so that a new one is fuzzed as soon as it is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from gradlab.base.errors import UserError
from gradlab.base.grammar import Parameter
from gradlab.config import KEYS, Key
from gradlab.config.keys import PARTS
from gradlab.parts.registries import REGISTRIES

NUMBERS = [
    "0", "-0", "1", "-1", "2", "0.5", "1.5", "1e-3", "1e308", "-1e308", "1e309", "1e-320", "nan", "NaN", "inf",
    "-inf", "Infinity", "1_0", "0x10", "1e3", "٣", "²", "1.", ".5", "+1", "1e", "--1", "True", str(10**30),
    "9" * 5000, str(2**31 - 1), str(2**31), str(2**63), str(2**64), " 1 ", "1,5", "", "1\n",
]  # fmt: skip
TEXTS = [
    "", " ", "\t", "a\nb", "\r", "\0", "a\0b", "\x1b[31mred\x1b[0m", "\x1b]8;;http://x\x07", "\x7f\x9b31m",
    "\u202edoc\u2066", "\ufeffx", "é", "e\u0301", "日本語", "🙂", "\udc80", "[bold]x[/bold]", "[/]", "[/red]",
    "<script>alert(1)</script>", "'", '"', "`", "$(touch made)", "; touch made", "%s%n", "{}", "{0.__class__}",
    "=1+1", "@x", "-", "--", "---", ",", ",,", "a,b", ":", "::", "a:b", "a:b=c", "a:=", "=", "a=b", "..", ".",
    "/", "~", "None", "null", "true", "x" * 300, "x" * 5000, "a:" * 500,
]  # fmt: skip
OWN = [
    "no_module:x", "os:getcwd", "math:sin", "torch.nn:ReLU", "torch:relu", "builtins:print", "builtins:dict",
    "builtins:input", "sys:exit", "this:s", "torch.nn:functional", "torch.nn.init:zeros_",
    "torch.optim:Adagrad", "torch.optim:LBFGS", "json:tool", "torch.nn:Module", "torch.nn:MSELoss",
    "torch.nn:LayerNorm", "collections:abc", "sys:path", ".:x", "a..b:c", "numpy.random:rand",
]  # fmt: skip
MOST = 8  # of a whole number in a training
FREE = ("run.first_seed", "training.batch_size", "training.stack_size", "run.workers")
"""whole numbers that make no training longer, or that a tiny data set refuses"""


def hostile(r: Random) -> str:
    """Anything."""
    return r.choice(r.choice((NUMBERS, TEXTS, OWN)))


def near(r: Random, text: str) -> str:
    """A text with a slip."""
    at = r.randrange(len(text) + 1)
    return r.choice(
        [
            text[:at] + text[at + 1 :],
            text[:at] + text[at : at + 1] * 2 + text[at + 1 :],
            text[: max(at - 1, 0)] + text[at : at + 1] + text[max(at - 1, 0) : at] + text[at + 1 :],
            text.upper(),
            text.title(),
            f" {text} ",
            f"{text},{text}",
            f"{text},",
            f"{text}:",
            f"{text}:x=1",
            f"{text}:{text}",
            f"{text}=1",
            text.replace("_", "-"),
            text + "s",
            text + r.choice(TEXTS),
        ]
    )


def value(r: Random, key: Key, *, trains: bool) -> str:
    """Something for one key. trains: whether it is trained with, so that what is allowed must be small."""
    drawn = r.random()
    text = allowed(r, key) if drawn < 0.5 else near(r, allowed(r, key)) if drawn < 0.7 else hostile(r)
    return "2" if trains and is_large(key, text) else text


def is_large(key: Key, text: str) -> bool:
    """Whether it is a whole number that would train for long."""
    if key.path in FREE or not key.allowed.startswith("a whole number"):
        return False
    try:
        return any(int(key.parse(each, "") or 0) > MOST for each in text.split(","))  # type: ignore[arg-type]
    except UserError:
        return False


def allowed(r: Random, key: Key) -> str:
    """What a key takes, or nearly always."""
    if key.choices:
        return r.choice(key.choices)
    if key.path in PARTS:
        return item(r, PARTS[key.path])
    if key.is_switch:
        return r.choice(["true", "false"])
    if key.is_text:
        return str(key.default) or r.choice(["y", "a,b", "all"])
    if key.allowed.startswith("a whole number"):
        return r.choice(["0", "1", "2", "3", "4"])
    return r.choice(["0", "1e-3", "0.5", "0.9", "1", "1e-300", "1e300", str(key.default or 0)])


def item(r: Random, kind: str) -> str:
    """An entry of a registry, some of its parameters given."""
    registry = REGISTRIES[kind]()
    if registry.own and r.random() < 0.1:
        return r.choice(OWN)
    name = r.choice(list(registry))
    parts = [
        f"{key}={parameter(r, each)}" for key, each in registry[name].parameters.items() if r.random() < 0.4
    ]
    return ":".join([name, *parts])


def parameter(r: Random, one: Parameter) -> str:
    """A value of one parameter: at its ends, beyond them, or anything."""
    drawn = r.random()
    if drawn < 0.2:
        return hostile(r)
    if one.choices:
        return r.choice(one.choices) if drawn < 0.7 else near(r, r.choice(one.choices))
    ends = [each for each in (one.low, one.high, one.default) if isinstance(each, int | float)]
    number = r.choice([*ends, 0.5, 1, 2, -1, r.choice(ends or [0]) + 1, r.choice(ends or [0]) * 2])
    if one.integer and one.high > 1000 and number > 100:  # such as the samples of a data set
        number = 40
    return str(int(number)) if one.integer and abs(number) < 1e300 else repr(number)


def some_keys(r: Random, most: int = 3) -> list[Key]:
    """Keys to set, each once."""
    return r.sample(list(KEYS.values()), r.randint(1, most))


def slice_of(r: Random, length: int) -> tuple[int, int]:
    """Two places in something of this length, in order."""
    first, last = sorted((r.randrange(length + 1), r.randrange(length + 1)))
    return first, last


def damaged(r: Random, content: bytes) -> bytes:
    """Bytes as a bad disk, a torn copy or the wrong program leaves them."""
    first, last = slice_of(r, len(content))
    noise = bytes(r.randrange(256) for _ in range(r.randint(1, 40)))
    lines = content.split(b"\n")
    choices: Sequence[bytes] = [
        b"",
        content[:last],
        content[first:],
        content[:first] + content[last:],
        content[:first] + noise + content[first:],
        content[:first] + noise + content[first + len(noise) :],
        content[:first] + b"\0" * 8 + content[first:],
        content[:first] + content[first:last] * 3 + content[last:],
        b"\xef\xbb\xbf" + content,
        content.replace(b"\n", b"\r\n"),
        content.replace(b"\n", b"\r"),
        content.replace(b",", r.choice([b";", b"\t", b" ", b",,", b"\0"])),
        content.decode("latin-1").encode("utf-16"),
        content + r.choice(TEXTS).encode("utf-8", "surrogateescape"),
        b"\n".join(r.sample(lines, len(lines))),
        noise,
        b"\n" * 50,
    ]
    return r.choice(choices)
