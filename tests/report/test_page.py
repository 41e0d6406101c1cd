"""The page's text and numbers: self-contained, escaped, small, and the same numbers as the tables."""

import gzip
import json
import re
from base64 import b64decode
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import colormaps
from matplotlib.colors import to_hex, to_rgb
from plotly.offline import get_plotlyjs
from synthetic_results import STEPS, Made, delta, make

from gradlab.base.errors import DataError
from gradlab.report import axes, html, page_data, palette
from gradlab.report.build import build
from gradlab.store.results import Results, read_folder

HOSTILE = "</script><script>alert(1)</script>&amp;\"'"


def saved(made: Made, out: Path = Path("made")) -> Results:
    manifest = {"finished": True, "chance": {str(cell): 0.1 for cell in made.summary["cell"]}}
    frames = {"layers": made.layers, "steps": made.steps, "summary": made.summary}
    return Results(out, None, {}, manifest, _frames=frames)


def write_folder(made: Made, folder: Path) -> Path:
    """A results folder as gradlab writes it, by pandas' own writer."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("layers", "steps", "summary"):
        getattr(made, name).to_csv(folder / f"{name}.csv", index=False)
    (folder / "config.toml").write_text("[network]\nactivation = 'relu'\n")
    (folder / "manifest.json").write_text(
        json.dumps({"finished": True, "argv": ["gradlab", "run"], "plan": "12ab"})
    )
    return folder


def page_of(made: Made) -> str:
    return html.page([saved(made)], Path())


def data_of(page: str) -> dict:  # type: ignore[type-arg]
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found
    return json.loads(found[1])  # type: ignore[no-any-return]


class Tags(HTMLParser):
    """Every element's attributes, and the text of one element's kind."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def tags_of(page: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = Tags()
    parser.feed(page)
    return parser.found


def test_the_pages_numbers_are_the_medians_of_the_table() -> None:
    made = make()
    cell = data_of(page_of(made))["cells"][made.summary["cell"].iloc[0]]
    assert (
        cell["steps"] == list(STEPS)
        and cell["layers"] == list(range(1, 22))
        and cell["names"][-1] == "output"
    )
    for nth, step in enumerate(STEPS):
        for layer in (1, 9, 21):
            values = [delta("sigmoid", 20, layer, seed, step) for seed in range(3)]
            for key, value in (("m", np.median(values)), ("lo", min(values)), ("hi", max(values))):
                assert cell["delta_rms"][key][nth][layer - 1] == pytest.approx(
                    1000 * np.log10(value), abs=0.5
                )
    assert cell["saturated_fraction"][0][9] == 150
    assert cell["theory"][0] == pytest.approx(1000 * np.log10(1.05 * delta("sigmoid", 20, 1, 0, 0)), abs=0.5)


def test_zeros_infinities_and_what_does_not_apply_stay_three_things() -> None:
    found = page_data.logs(np.array([[1e-3, 0.0], [np.inf, np.nan]]))
    assert found == [[-3000, page_data.ZERO], [page_data.INFINITE, None]]


def test_colours_marks_and_strips_are_those_of_the_figures_and_stand_in_no_script() -> None:
    data = data_of(page_of(make()))
    assert data["light"]["series"] == list(axes.COLOURS) and len(data["marks"]) == len(axes.MARKERS)
    assert (data["zero"], data["infinite"]) == (page_data.ZERO, page_data.INFINITE)
    least, share = data["strip"]
    assert (
        axes.Decades(-40, 0, True, False).gap == share * 40 and axes.Decades(0, 1, True, False).gap == least
    )
    stops = [(share, to_hex(colormaps[palette.MAP](float(share)))) for share, _ in palette.MAP_STOPS]
    for (_, given), (_, true) in zip(data["map"], stops, strict=True):
        np.testing.assert_allclose(to_rgb(given), to_rgb(true), atol=2 / 255)
    script = (html.TEMPLATES / "report.js").read_text(encoding="utf-8").lower()
    colours = [
        *data["light"].values(),
        *data["dark"].values(),
        *data["light"]["series"],
        *data["dark"]["series"],
    ]
    assert not [each for each in colours if isinstance(each, str) and each.lower() in script]


def test_the_page_asks_for_nothing_and_has_one_plotly() -> None:
    page = page_of(make(("relu", "tanh"), (5, 20)))
    for tag, attributes in tags_of(page):
        assert "src" not in attributes, tag
        href = attributes.get("href") or ""
        assert not href.startswith(("http", "//")), href
    assert page.count("Plotly.react(") < 10 and "plotly.js v" not in page
    (packed,) = re.findall(r'id="plotly">([^<]*)</script>', page)
    assert gzip.decompress(b64decode(packed)).decode() == get_plotlyjs()
    assert "default-src 'none'" in page


def test_text_of_the_user_is_escaped_everywhere() -> None:
    made = make((HOSTILE,), (5, 6), dataset=f"{HOSTILE}.csv")
    page = html.page([saved(made, Path(f"x{HOSTILE.replace('/', '_')}"))], Path())
    assert "alert(1)</script>" not in page.replace("&lt;/script&gt;", "")
    assert not re.search(r"<script>alert", page)
    assert "<" not in page.split('id="data">')[1].split("</script>")[0]
    labels = [row["label"] for row in data_of(page)["rows"].values()]
    assert all(HOSTILE in label for label in labels)
    ours = 5  # the numbers, plotly and the behaviour; the explorer and its link
    assert [tag for tag, _ in tags_of(page)].count("script") == ours


def test_a_report_imports_nothing_that_a_table_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, draw_only: Callable[..., None]
) -> None:
    draw_only("by_depth", "activations", "phase")  # those that ask what an activation is
    (tmp_path / "trap.py").write_text(
        "from pathlib import Path\nPath('sprung').touch()\ndef phi(z): return z\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    build([write_folder(make(("trap:phi", "relu"), (5,)), tmp_path / "run")], ("html", "svg"))
    assert not (tmp_path / "sprung").exists()


def test_verdict_comes_first_then_ranking_then_cells() -> None:
    page = page_of(make(("sigmoid", "relu"), (5, 20)))
    order = [
        page.index(f'id="{name}"') for name in ("verdict", "ranking", "comparison", "cell", "shapes", "setup")
    ]
    assert order == sorted(order)
    assert "1 vanishing" in page and "3 healthy" in page
    assert '<h1 id="verdict-head">sigmoid vanishes from depth 20; relu survives to depth 20</h1>' in page


@pytest.mark.slow
def test_two_hundred_cells_stay_under_fifteen_megabytes_and_are_all_there() -> None:
    made = make(("relu", "tanh", "sigmoid", "linear"), tuple(range(1, 51)), seeds=1, steps=tuple(range(24)))
    page = page_of(made)
    assert len(page.encode()) < 15e6
    data = data_of(page)
    assert len(data["cells"]) == 200 and len(data["families"]["lines"]) == 4
    assert "To keep the page small" in page


@pytest.mark.parametrize("size", [(32, 21), (500, 1000), (64, 200)])
@pytest.mark.parametrize("cells", [1, 12, 200, 400])
def test_detail_is_thinned_to_the_budget(cells: int, size: tuple[int, int]) -> None:
    detail = page_data.choose([size] * cells)
    assert cells * detail.numbers(*size) <= page_data.BUDGET
    if cells * 8 * min(size[0], 64) * min(size[1], 400) <= page_data.BUDGET:
        assert detail == page_data.LADDER[0]


def test_two_results_of_the_same_cell_are_told_apart(tmp_path: Path) -> None:
    folders = [write_folder(make(("relu",), (5,)), tmp_path / name) for name in ("a", "b")]
    built = build(folders, ("html", "md"), tmp_path / "both")
    page = built.files[0].read_text()
    assert len(data_of(page)["cells"]) == 2
    links = [
        a["href"] for tag, a in tags_of(page) if tag == "a" and (a.get("href") or "").endswith("layers.csv")
    ]
    assert links == ["../a/layers.csv", "../b/layers.csv"]
    assert all((built.out / link).resolve().exists() for link in links if link)
    assert "| relu | a |" in built.files[1].read_text()


def test_a_saved_folder_reads_back_as_it_was_written(tmp_path: Path) -> None:
    made = make(("relu",), (3,))
    made.layers.loc[0, ["delta_rms", "weight_grad_norm"]] = [1.2345678901234567e-300, np.inf]
    found = read_folder(write_folder(made, tmp_path))
    for name in ("layers", "steps", "summary"):
        pd.testing.assert_frame_equal(
            getattr(found, name),
            getattr(made, name),
            check_dtype=False,
            check_exact=True,
            check_column_type=False,
        )


def test_a_hash_of_digits_stays_a_text(tmp_path: Path) -> None:
    made = make(("relu",), (3,))
    for name in ("layers", "steps", "summary"):
        getattr(made, name)["cell"] = "1234567890e5"
    assert set(read_folder(write_folder(made, tmp_path)).layers["cell"]) == {"1234567890e5"}


def test_bad_folders_are_all_named_at_once(tmp_path: Path) -> None:
    whole = write_folder(make(("relu",), (3,)), tmp_path / "whole")
    (whole / "steps.csv").unlink()
    (whole / "summary.csv").write_text("cell,activation\n1,relu\n")
    with pytest.raises(DataError) as caught:
        build([whole, tmp_path / "absent"], ("html",))
    text = "\n".join(map(str, caught.value.problems))
    assert len(caught.value.problems) == 3
    assert "steps.csv" in text and "columns are missing" in text and "no such results folder" in text
    assert not (whole / "report.html").exists()


def test_an_unfinished_run_says_so(tmp_path: Path) -> None:
    folder = write_folder(make(("relu",), (3,)), tmp_path)
    (folder / "manifest.json").unlink()
    (folder / ".journal").mkdir()
    assert "the run is unfinished" in build([folder], ("html",)).files[0].read_text()
