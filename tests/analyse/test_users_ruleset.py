"""`--ruleset module:function`: the user's own rules, and whatever they do wrong in one clear line."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

from gradlab import Recorder
from gradlab.analyse import diagnose
from gradlab.base.errors import ConfigError
from gradlab.cli.main import main

NUMBER = itertools.count()

Write = Callable[..., str]


@pytest.fixture
def rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a module of the user's whose `judge` has this body; gives its name as --ruleset wants it."""
    monkeypatch.chdir(tmp_path)

    def write(body: str, head: str = "layers, steps") -> str:
        name = f"users_rules_{next(NUMBER)}"
        (tmp_path / f"{name}.py").write_text(f"def judge({head}):\n    {body}\n")
        return f"{name}:judge"

    return write


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("return 'wobbly'", {"wobbly": ""}),
        ("return ['wobbly', 'dead', 'wobbly']", {"wobbly": "", "dead": ""}),
        ("return ('much too slow',)", {"much too slow": ""}),
        ("return {'wobbly': 'because\\n of  this', 'dead': ''}", {"wobbly": "because of this", "dead": ""}),
        ("return []", {}),
        ("return {}", {}),
        ("return ''", {}),
        ("return 'healthy'", {}),
        ("return {'healthy': 'all is well'}", {}),
    ],
)
def test_a_word_several_words_or_words_with_evidence(cell, rules: Write, body: str, expected) -> None:  # type: ignore[no-untyped-def]
    name = rules(body)
    (found,) = diagnose(*cell(), ruleset=name)
    assert found.ruleset == name and found.seeds == 3
    assert found.verdicts == (tuple(expected) or ("healthy",))
    assert found.seeds_text == (",".join("3/3" for _ in expected) or "3/3")
    for finding, evidence in zip(found.findings, expected.values(), strict=True):
        assert finding.evidence == (evidence or "no evidence was given")
        assert (finding.agree, finding.which, finding.rule) == (3, (0, 1, 2), name)
        assert finding.layer is finding.name is finding.step is finding.at_birth is None
        assert finding.place == "over all records"


def test_it_sees_the_tables_of_one_cell_at_a_time(cell, rules: Write) -> None:  # type: ignore[no-untyped-def]
    """Its own copies: what it does to them is nobody else's."""
    tables = [cell(cell="b", decay=0.2), cell(cell="a", seeds=2)]
    layers, steps = (pd.concat(each) for each in zip(*tables, strict=True))
    name = rules(
        "(one,) = set(layers['cell']) | set(steps['cell'])\n"
        "    said = f'{one}: {len(layers)} and {len(steps)} rows, from {layers.index[0]} and {steps.index[0]}'\n"
        "    layers['delta_rms'] = 0; steps['cell'] = ''\n"
        "    return said"
    )
    found = diagnose(layers, steps, ruleset=name)
    assert [one.cell["cell"] for one in found] == ["b", "a"]
    sizes = [tuple(map(len, each)) for each in tables]
    assert [one.verdicts for one in found] == [
        (f"{cell}: {rows} and {records} rows, from 0 and 0",)
        for cell, (rows, records) in zip("ba", sizes, strict=True)
    ]
    assert (layers["delta_rms"] > 0).all() and (steps["cell"] != "").all()
    assert diagnose(*cell(), ruleset=rules("return [] if steps is not None else 'blind'"))[0].healthy
    assert diagnose(cell()[0], ruleset=rules("return [] if steps is not None else 'blind'"))[0].verdicts == (
        "blind",
    )


def test_what_stands_behind_its_name_is_passed_on(cell, rules: Write) -> None:  # type: ignore[no-untyped-def]
    name = rules("return [f'{limit + 1}{kind}']", head="layers, steps, limit=0, kind=''")
    assert diagnose(*cell(), ruleset=name)[0].verdicts == ("1",)
    (found,) = diagnose(*cell(), ruleset=f"{name}:limit=0.5:kind=x")
    assert found.verdicts == ("1.5x",) and found.ruleset == f"{name}:limit=0.5:kind=x"


def test_the_command_and_the_recorder_ask_it(cell, rules: Write, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    for table, frame in zip(("layers", "steps"), cell(), strict=True):
        frame.to_csv(tmp_path / f"{table}.csv", index=False)
    name = rules("print('hello'); return {'wobbly': 'because'}")
    assert main(["diagnose", str(tmp_path), "--ruleset", name, "--json"]) == 0
    out, err = capsys.readouterr()
    (diagnosis,) = json.loads(out)["diagnoses"]
    assert diagnosis["ruleset"] == name and diagnosis["verdicts"] == ["wobbly"] and "hello" in err
    assert main(["diagnose", str(tmp_path), "--ruleset", name]) == 0
    assert f"wobbly [{name}], over all records: because\n" in capsys.readouterr().out

    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1))
    with Recorder(model) as recorder:
        model(torch.ones(4, 2)).mean().backward()
        recorder.step()
    assert recorder.diagnose(name).verdicts == ("wobbly",)
    with pytest.raises(ConfigError, match="unknown ruleset 'smdebg'"):
        recorder.diagnose("smdebg")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("raise RuntimeError('no idea')", "failed on cell c0ffee: RuntimeError: no idea"),
        ("import sys; sys.exit(0)", "failed on cell c0ffee: SystemExit: 0"),
        ("return layers['nowhere']", "failed on cell c0ffee: KeyError: 'nowhere'"),
        ("return None", "returned None"),
        ("return 3", "returned 3"),
        ("return {'dead'}", "returned a set"),
        ("return layers", "returned a DataFrame"),
        ("return (word for word in ['dead'])", "returned a generator"),
        ("return ['dead', 3]", "returned 3 as a word"),
        ("return [['dead']]", "returned a list as a word"),
        ("return ' '", "returned ' ' as a word"),
        ("return 'two\\nlines'", "returned 'two\\nlines' as a word"),
        ("return {'dead': 0.5}", "returned 0.5 as evidence"),
        ("return ['dead', 'healthy']", "returned 'healthy' beside other words"),
    ],
)
def test_what_it_does_wrong_is_one_line_and_misuse(  # type: ignore[no-untyped-def]
    cell, rules: Write, tmp_path: Path, capsys, body: str, says: str
) -> None:
    cell()[0].to_csv(tmp_path / "rows.csv", index=False)
    name = rules(body)
    assert main(["diagnose", str(tmp_path / "rows.csv"), "--ruleset", name, "--quiet"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    first, *more = err.splitlines()
    assert first == f"error: --ruleset: {name} {says}"
    assert all(line.startswith("  ") for line in more)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nowhere_to_be_found:judge", "cannot import 'nowhere_to_be_found'"),
        ("json:judge", "module 'json' has no attribute 'judge'"),
        ("json:__doc__", "json:__doc__ cannot be called"),
        ("smdebug:x=1", "unknown ruleset 'smdebug:x=1'"),
        ("gradlb", "did you mean 'gradlab'"),
        ("al", "did you mean 'all'"),
    ],
)
def test_what_is_no_ruleset_is_said_with_what_there_is(cell, rules: Write, name: str, says: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError) as caught:
        diagnose(*cell(), ruleset=name)
    assert says in str(caught.value)
    if "unknown" in says:
        known = "gradlab, smdebug, autotrainer, deepchecker, torchmortem, neuraldbg, package.module:Attr, all"
        assert known in str(caught.value)
