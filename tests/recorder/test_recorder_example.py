"""The example of docs/recorder.md runs and says what is wrong with its net."""

import re
from pathlib import Path

import torch

DOCS = Path(__file__).parents[2] / "docs" / "recorder.md"


def test_the_documented_loop(capsys) -> None:  # type: ignore[no-untyped-def]
    found = re.search(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert found is not None
    torch.manual_seed(0)
    exec(compile(found[1], str(DOCS), "exec"), {})
    report = capsys.readouterr().out
    assert report.startswith("Verdict: vanishing") and "Step 99:" not in report and "layer" in report
