"""`gradlab theory` through its outer boundary: JSON, CSV, sweeps, phase diagrams, mistakes, and no torch."""

import csv
import io
import json
import subprocess
import sys

import pytest

from gradlab.cli.main import main

KEYS = {
    "activation",
    "sigma_w",
    "sigma_b",
    "q_star",
    "q_star_stable",
    "q_star_reason",
    "chi_1",
    "xi_c",
    "xi_q",
    "c_star",
    "critical_sigma_w",
    "critical_reason",
    "half_stable",
    "layers",
}


def theory(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["theory", *arguments]) == 0
    return capsys.readouterr().out


def test_json_of_one_net(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--activation", "tanh", "--sigma-w", "1.5", "--sigma-b", "0.2", "--depth", "3", "--json")
    found = json.loads(theory(capsys, *flags))
    assert set(found) == KEYS
    assert [set(layer) for layer in found["layers"]] == [{"layer", "q", "chi", "delta_rms_ratio"}] * 3
    assert found["layers"][0]["q"] == pytest.approx(1.5**2 + 0.2**2)
    assert found["layers"][-1]["delta_rms_ratio"] == 1
    assert found["q_star_stable"] is True and found["half_stable"] is None


def test_a_list_sweeps_and_what_has_no_number_is_null_with_its_reason(
    capsys: pytest.CaptureFixture[str],
) -> None:
    flags = ("--activation", "relu,gelu", "--sigma-w", "1,1.4142135623730951", "--depth", "2", "--json")
    found = json.loads(theory(capsys, *flags))
    assert [(d["activation"], round(d["sigma_w"], 3)) for d in found] == [
        ("relu", 1.0),
        ("relu", 1.414),
        ("gelu", 1.0),
        ("gelu", 1.414),
    ]
    relu, gelu = found[1], found[2]
    assert relu["q_star"] is None and relu["q_star_reason"] == "any q is fixed" and relu["xi_c"] is None
    assert gelu["critical_sigma_w"] is None and "not reached from above" in gelu["critical_reason"]
    assert gelu["half_stable"]["q"] == pytest.approx(3.56155281, abs=1e-8)


def test_inits_and_widths(capsys: pytest.CaptureFixture[str]) -> None:
    flags = (
        "--activation",
        "leaky_relu:negative_slope=0.2",
        "--init",
        "he,torch",
        "--width",
        "512",
        "--json",
    )
    he, torch = json.loads(theory(capsys, *flags))
    assert he["sigma_w"] == pytest.approx((2 / 1.04) ** 0.5) and he["chi_1"] == pytest.approx(1)
    assert torch["sigma_b"] == pytest.approx((1 / (3 * 512)) ** 0.5)
    bottom, top = he["layers"][0], he["layers"][-1]
    assert 0.3 < bottom["low"] < 1 < bottom["high"] < 3 and top["low"] == top["high"] == 1


def test_csv_repeats_the_net_on_every_layer(capsys: pytest.CaptureFixture[str], tmp_path) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "theory.csv"
    flags = ("--activation", "silu", "--sigma-w", "1,2", "--depth", "3", "--csv", "--out", str(out))
    text = theory(capsys, *flags)
    assert out.read_text() == text
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [(row["sigma_w"], row["layer"]) for row in rows] == [
        (w, str(i)) for w in ("1.0", "2.0") for i in (1, 2, 3)
    ]
    assert float(rows[0]["half_stable_q"]) == pytest.approx(14.32017362, abs=1e-8)
    assert rows[0]["critical_sigma_w"] == ""


def test_a_phase_diagram_has_its_critical_line(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--activation", "tanh", "--sigma-b", "0,0.22360679774997896", "--sigma-w", "1,1.327,2")
    found = json.loads(theory(capsys, *flags, "--phase-diagram", "--json"))
    phases = [point["phase"] for point in found["grid"]]
    assert phases == ["critical", "chaotic", "chaotic", "ordered", "ordered", "chaotic"]
    assert found["grid"][4]["chi_1"] == pytest.approx(1, abs=1e-4), "just left of the line"
    assert found["critical_line"][0]["sigma_w"] == pytest.approx(1)
    assert found["critical_line"][1]["sigma_w"] ** 2 == pytest.approx(1.7609546396)


def test_the_terminal_shows_the_numbers_and_the_next_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["theory", "--activation", "sigmoid", "--sigma-w", "1", "--depth", "30"]) == 0
    shown = capsys.readouterr()
    assert "0.264687" in shown.out and "10.1493" in shown.out
    assert (
        shown.err == "next: gradlab run --activation sigmoid --init gaussian:sigma_w=1:sigma_b=0 --depth 30\n"
    )
    assert main(["theory", "--activation", "tanh", "--sigma-b", "0", "--phase-diagram"]) == 0
    assert "1.0000" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--activation", "softmax,tahn", "--sigma-w", "x"), ["not elementwise", "tanh", "not a number"]),
        (("--activation", "tanh", "--sigma-w", "1", "--init", "he"), ["--init"]),
        (("--activation", "tanh", "--sigma-b", "1"), ["--sigma-w is missing"]),
        (("--activation", "tanh", "--sigma-w", "0"), ["a number in (0, 1e+100]"]),
        (("--activation", "tanh", "--init", "hee,constant"), ["he", "no prediction"]),
        (("--activation", "tanh", "--phase-diagram", "--depth", "3"), ["--depth"]),
        (("--activation", "tanh", "--depth", "2.5"), ["whole number"]),
    ],
)
def test_mistakes_are_all_named_at_once(
    capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], says: list[str]
) -> None:
    assert main(["theory", *flags, "--json"]) == 2
    problems = json.loads(capsys.readouterr().out)["error"]["problems"]
    text = json.dumps(problems)
    assert len(problems) >= len(says) and all(part in text for part in says)


def test_no_torch_is_imported() -> None:
    code = (
        "import sys\n"
        "from gradlab.cli.main import main\n"
        "code = main(['theory', '--activation', 'tanh,relu', '--init', 'he', '--depth', '2', '--width', '64'])\n"
        "loaded = [m for m in ('torch', 'sklearn', 'pandas', 'matplotlib', 'scipy.stats') if m in sys.modules]\n"
        "sys.exit(code or (str(loaded) if loaded else 0))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
