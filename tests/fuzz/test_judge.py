"""The judge of the fuzzer finds each kind of fault, and none where all is well; a number is always the same case."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import pytest
from fuzz.case import Case, Ended
from fuzz.cases import ROUND, case_of
from fuzz.flags import commands
from fuzz.judge import faults

from gradlab.config import KEYS

RUN = Case(["run"], writes=["out"])
JSON = Case(["run", "--json"], writes=["out"])
REFUSAL = "error: --lr: '0' is out of range\n  allowed: a number > 0\n"
TABLE = b"step\n0\n"
WHOLE = {
    "w/here/out/steps.csv": TABLE,
    "w/here/out/manifest.json": json.dumps(
        {"sha256": {"steps.csv": hashlib.sha256(TABLE).hexdigest()}}
    ).encode(),
}


def ended(
    code: int | None, out: str = "", err: str = "", after: Mapping[str, str | bytes] | None = None
) -> Ended:
    return Ended(code, out.encode(), err.encode(), {}, after or {})


def document(**problem: str | None) -> str:
    return json.dumps({"error": {"message": "x", "problems": [problem]}})


@pytest.mark.parametrize(
    ("case", "end"),
    [
        (RUN, ended(0, "done\n", "1/1 relu\n", WHOLE)),
        (RUN, ended(2, err=f"warning: x\n{REFUSAL}")),
        (RUN, ended(130, err="error: interrupted\n", after={"w/here/out/.journal": "folder"})),
        (JSON, ended(0, '{"out": "out"}')),
        (JSON, ended(2, document(where="--lr", allowed="a number"))),
        (Case(["run", "--help"]), ended(0, "Usage: ...")),
    ],
)
def test_what_is_well(case: Case, end: Ended) -> None:
    assert faults(case, end) == []


@pytest.mark.parametrize(
    ("case", "end", "says"),
    [
        (RUN, ended(7, err=REFUSAL), "exit code 7"),
        (RUN, ended(None), "exit code None"),
        (RUN, ended(1, err="Traceback (most recent call last):\nerror: x\n  hint: y\n"), "Traceback"),
        (RUN, ended(1, err="error: KeyError: this is a bug in gradlab\n  hint: y\n"), "bug in gradlab"),
        (RUN, ended(0, "\x1b[31mred"), "control characters in stdout: U+001B"),
        (RUN, ended(2, err=REFUSAL.replace("0", "\x9b")), "control characters in stderr: U+009B"),
        (RUN, ended(2, err=REFUSAL + "and more\n"), "'and more'"),
        (RUN, ended(2, err=REFUSAL + REFUSAL), "the same error twice"),
        (RUN, ended(2), "exit code 2 without an error"),
        (RUN, ended(0, err=REFUSAL), "exit code 0 with an error"),
        (RUN, ended(2, err="error: --lr: wrong\n"), "without a next step"),
        (JSON, ended(2, document(where="--lr", allowed=None, hint=None)), "without a next step"),
        (JSON, ended(0, '{"out": NaN}'), "not one JSON document"),
        (JSON, ended(0, "hello {}"), "not one JSON document"),
        (RUN, ended(2, err=REFUSAL, after={"w/here/out": "folder"}), "it was refused, and these changed: w/here/out"),
        (RUN, ended(0, after={"w/here/other": b""}), "wrote where it should not: w/here/other"),
        (RUN, ended(0, after={"tmp/left": b""}), "wrote where it should not: tmp/left"),
        (RUN, ended(0, after={"w/here/out/.steps.csv.1.part": b""}), "left over"),
        (RUN, ended(0, after=WHOLE | {"w/here/out/steps.csv": b"torn"}), "steps.csv is not what"),
        (RUN, Ended(0, b"", b"", {"w/here/kept": b"1"}, {}), "wrote where it should not: w/here/kept"),
        (RUN, Ended(0, b"\xff", b"", {}, {}), "not UTF-8"),
    ],
)  # fmt: skip
def test_what_is_not(case: Case, end: Ended, says: str) -> None:
    assert any(says in fault for fault in faults(case, end)), faults(case, end)


def test_a_number_is_always_the_same_case() -> None:
    for number in range(2 * len(ROUND)):
        (kind, one), (_, other) = case_of(3, number), case_of(3, number)
        assert kind == ROUND[number % len(ROUND)] and (one.argv, one.environment) == (
            other.argv,
            other.environment,
        )
    assert len({tuple(case_of(seed, 0)[1].argv) for seed in range(20)}) > 10


def test_every_key_and_command_comes_up() -> None:
    typed = [" ".join(case_of(0, number)[1].argv) for number in range(2500)]
    for key in KEYS.values():
        assert any(f"{key.option} " in f"{line} " for line in typed), key.option
    for words in commands():
        assert any(line.startswith(" ".join(words)) for line in typed), words
