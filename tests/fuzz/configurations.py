"""TOML files and environment variables: right, nearly right, of the wrong structure, and torn."""

from __future__ import annotations

from random import Random

import tomli_w
from fuzz.case import TINY, Case, file, tiny
from fuzz.flags import NET, OUTS
from fuzz.values import TEXTS, damaged, hostile, is_large, near, some_keys, value

from gradlab.config import KEYS, Key, to_toml
from gradlab.config.sections import Config

OF_TINY = {key.path: text for key in KEYS.values() for flag, text in TINY.items() if flag == key.option}
RAW = [
    "inf", "-inf", "nan", "-nan", "1e400", "-0", "-0.0", "0x7f", "0o7", "0b1", "1_0", "true", "1979-05-27",
    "07:32:00", "1979-05-27T07:32:00Z", "[]", "{}", "[[]]", "[{}]", "''", "[1,2]", "[nan]", "{a=1}",
    "{a={b={c=1}}}", "+1", "00", "1.", "True", "None", "abc", '""', '"\\u0000"', '"\\u001b[31m"', '"\\n"',
    '[1,"a"]', "9" * 5000, "0." + "9" * 5000, "1e" + "9" * 50, "[" * 500 + "]" * 500, "[" * 5000 + "]" * 5000,
    "{a=" * 500 + "1" + "}" * 500, '"""a\nb"""', "", "'" + "x" * 5000 + "'",
]  # fmt: skip
"""Values as they stand in a file, TOML or none."""


def make(r: Random) -> Case:
    """A file, or variables, with a command that reads them."""
    if r.random() < 0.15:
        return _environment(r)
    command = r.choice(["validate", "validate", "show", "run", "compare", "dry-run", "watch"])
    trains = command not in ("validate", "show")
    content = text(r, trains=trains).encode("utf-8", "surrogateescape")
    if not trains and r.random() < 0.25:
        content = damaged(r, content)
    name = r.choice(["c.toml", "c.toml", "c", "ö c.toml", "[red]c.toml", "c\x1b[31m.toml"])
    argv = {
        "validate": ["config", "validate", name],
        "show": ["config", "show", "--config", name, *r.choice([[], ["--toml"]])],
        "run": ["run", "--config", name],
        "compare": ["compare", "--config", name],
        "dry-run": ["compare", "--dry-run", "--config", name],
        "watch": ["watch", "net:made", "--config", name],
    }[command]
    if r.random() < 0.3:
        argv.append("--json")
    writes = () if command in ("validate", "show", "dry-run") else ("results", *OUTS)
    return Case(argv, [file(name, content), file("net.py", NET)], writes)


def _environment(r: Random) -> Case:
    """Variables of keys, and such as look like them."""
    variables = {
        key.variable: value(r, key, trains=True).replace("\0", "")
        for key in some_keys(r)
        if key.path != "run.out"
    }
    if r.random() < 0.3:
        variables[
            r.choice(["GRADLAB_LR", "GRADLAB_TRAINING__LRR", "GRADLAB_", "GRADLAB_\x1b[31m", "GRADLAB_[/]"])
        ] = "1"
    variables = {
        name: text.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
        for name, text in variables.items()
    }
    argv = r.choice(
        [["config", "show"], ["run", *tiny()], ["compare", "--dry-run", *tiny(activation="relu,tanh")]]
    )
    return Case(argv, writes=() if "--dry-run" in argv else ("results",), environment=variables)


def text(r: Random, *, trains: bool) -> str:
    """A whole file: a tiny configuration with some keys set otherwise, and parts that belong nowhere."""
    lines: dict[str, dict[str, str]] = {}
    for path, given in OF_TINY.items():
        lines.setdefault(path.partition(".")[0], {})[path.partition(".")[2]] = _toml(given)
    for key in some_keys(r, 5):
        name = near(r, key.name) if r.random() < 0.1 else key.name
        lines.setdefault(key.section, {})[name] = _value(r, key, trains=trains)
    if r.random() < 0.3:
        key = r.choice([key for key in KEYS.values() if key.takes_list or r.random() < 0.1])
        lines.setdefault(key.section, {}).pop(key.name, None)
        values = ", ".join(_value(r, key, trains=trains) for _ in range(r.randint(0, 3)))
        lines["grid"] = {r.choice([key.flag, f'"{key.path}"', key.path]): f"[{values}]"}
    sections = [
        f"[{section}]\n" + "".join(f"{name} = {given}\n" for name, given in keys.items())
        for section, keys in lines.items()
    ]
    if not trains and r.random() < 0.2:
        sections.insert(r.randrange(len(sections) + 1), _stray(r))
    return "\n".join(sections)


def _value(r: Random, key: Key, *, trains: bool) -> str:
    if key.path == "run.out":
        return _toml(r.choice(OUTS))
    if r.random() < 0.35:
        raw = r.choice(RAW)
        return "2" if trains and is_large(key, raw.strip("'\"")) else raw
    drawn = value(r, key, trains=trains)
    return _toml(drawn) if key.is_text or key.choices or r.random() < 0.3 else drawn


def _stray(r: Random) -> str:
    """What has no place in a configuration."""
    section = r.choice([*Config.model_fields, "grid", hostile(r), near(r, "network")])
    return r.choice(
        [
            f"{section} = 1\n",
            f"[{section}]\n",
            f"[[{section}]]\nx = 1\n",
            f"[{section}.{section}]\nx = 1\n",
            f"{_toml(section)} = {r.choice(RAW)}\n",
            f"[{_toml(r.choice(TEXTS))}]\n{_toml(r.choice(TEXTS))} = 1\n",
            f"{section}.depth = 2\n",
            to_toml(Config()),
            "".join(f"[a{'.a' * number}]\n" for number in range(300)),
        ]
    )


def _toml(text: str) -> str:
    """A text as a TOML string; what it cannot hold is left out."""
    return tomli_w.dumps({"x": text.encode("utf-8", "ignore").decode()}).partition(" = ")[2].strip()
