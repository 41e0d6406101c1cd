"""A table of records is one file in gradlab/sensors/extra: its switch, its columns and its sensor."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from house.copied import copy_package, several

TABLE = '''
"""The largest weight of each layer before each recorded step."""

from __future__ import annotations

from gradlab.sensors.sensor import Sensor, Taken
from gradlab.tables.cell import RECORD
from gradlab.tables.spec import Option, TableSpec, floats, place, predicted

EXTREMES = TableSpec(
    name="extremes",
    row="cell, seed, recorded step and layer",
    option=Option("extremes", "the largest weight of each layer"),
    keys=RECORD,
    axes=("layer",),
    columns=(
        place("layer", "int", "", "1 next to the input", along="layer"),
        *floats(("weight_max", "weight", "largest weight")),
        predicted("weight_max_predicted", "weight", "nothing is known of it"),
    ),
)


class ExtremeSensor(Sensor):
    table = EXTREMES

    def places(self):
        return {"layer": range(1, len(self.observed.names) + 1)}

    def begin(self, buffered):
        import torch

        largest = [linear.weight.detach().double().amax(dim=(1, 2)) for linear in self.observed.mlp.linears]
        self.values = torch.stack(largest, dim=1)

    def finish(self):
        import numpy as np
        import torch

        values = torch.stack([self.values, torch.full_like(self.values, torch.nan)], dim=2)
        return Taken(values, np.ones(values.shape[1:], dtype=bool))


SENSOR = ExtremeSensor
'''
RUN = [
    "run",
    "--activation",
    "relu",
    "--depth",
    "3",
    "--width",
    "8",
    "--steps",
    "4",
    "--seeds",
    "2",
    "--quiet",
]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = copy_package(tmp_path_factory.mktemp("table"))
    (found / "sensors" / "extra" / "extremes.py").write_text(TABLE)
    return found


@pytest.mark.slow
def test_its_switch_writes_it_and_the_result_has_it(package: Path, tmp_path: Path) -> None:
    asked = [*RUN, "--extremes", "--tables", "both", "--save-weights", "--out", "o"]
    code = (
        "import gradlab\n"
        "run = gradlab.run(activation='relu', depth=3, width=8, steps=4, seeds=2, extremes=True, out='p')\n"
        "plain = gradlab.run(activation='relu', depth=3, width=8, steps=4, seeds=2, out='q')\n"
        "print(len(run.extremes), plain.extremes, run.jacobian)\n"
    )
    done, said = several(package, asked, code, cwd=tmp_path)
    assert done.code == 0, done.err
    rows = pd.read_csv(tmp_path / "o" / "extremes.csv")
    assert list(rows.columns[10:]) == ["seed", "step", "layer", "weight_max", "weight_max_predicted"]
    assert list(rows["seed"]) == sorted(rows["seed"]) and rows["weight_max_predicted"].isna().all()
    assert "weight_max_predicted\n" in (tmp_path / "o" / "extremes.csv").read_text()
    from safetensors.numpy import load_file

    (weights,) = (tmp_path / "o" / "weights").iterdir()
    last = rows[rows["step"] == 4].set_index(["seed", "layer"])["weight_max"]
    final = load_file(weights)
    for seed in (0, 1):
        assert last[seed, 4] == pytest.approx(final["readout.weight"][seed].max(), rel=1e-12)
    parquet = pd.read_parquet(tmp_path / "o" / "extremes.parquet")
    np.testing.assert_array_equal(parquet["weight_max"], rows["weight_max"])
    assert said.out.split() == [str(len(rows)), "None", "None"]


def test_it_is_listed_documented_and_in_the_configuration(package: Path, tmp_path: Path) -> None:
    listed, started, page, refused = several(
        package,
        ["list", "metrics", "--json"],
        ["config", "init"],
        "from gradlab.sensors.describe import page; print(page())",
        [*RUN, "--extremes", "--record", "off"],
        cwd=tmp_path,
    )
    rows = json.loads(listed.out)
    assert [row["table"] for row in rows if row["name"] == "weight_max"] == ["extremes (--extremes)"]
    assert "the largest weight of each layer" in started.out
    assert "## extremes.csv (--extremes): one row per cell, seed, recorded step and layer" in page.out
    assert refused.code == 2 and "record = off makes none" in refused.err


@pytest.mark.slow
def test_a_run_that_continues_and_a_report_take_it_along(package: Path, tmp_path: Path) -> None:
    first = [*RUN, "--extremes", "--out", "o"]
    report = ["report", "o", "--format", "md"]
    calls = [
        first, "import os; os.rename('o/extremes.csv', 'first.csv')", first, report,
        "import os; os.rename('o/extremes.csv', 'again.csv')",
        "open('o/extremes.csv', 'w').write('cell,seed,step,layer\\n1,0,0,x\\n')", report,
    ]  # fmt: skip
    done, _, again, drawn, _, _, broken = several(package, *calls, cwd=tmp_path)
    assert done.code == again.code == drawn.code == 0, "the journal has its records"
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "first.csv").read_bytes()
    assert broken.code == 2 and "extremes.csv: layer: not a column of numbers ('x')" in broken.err
