"""Of a net with one hidden layer nothing is said about the way from its top hidden layer to its first."""

import pytest

from gradlab.cli.main import main


@pytest.mark.usefixtures("two_figures")
@pytest.mark.parametrize(("depth", "said"), [(1, False), (2, True)])
def test_one_hidden_layer_is_not_compared_with_itself(depth, said, tmp_path, capsys) -> None:  # type: ignore[no-untyped-def]
    flags = ["--width", "4", "--steps", "3", "--seeds", "1", "--report", "--out", str(tmp_path / "o")]
    assert main(["run", "--depth", str(depth), *flags]) == 0
    assert ("from the top hidden layer" in capsys.readouterr().out) == said
    page = (tmp_path / "o" / "report.html").read_text(encoding="utf-8")
    assert ("gradient reaches layer 1" in page) == said
