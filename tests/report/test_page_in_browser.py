"""The page in real headless Chromium: quiet, moving, sorting, filtering, accessible, and not blank.

Needs Debian's chromium and chromium-driver and the extra `browser`; axe-core (npm) where it is installed in
node_modules of the repository or GRADLAB_AXE names axe.min.js.
"""

import base64
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic_results import attention_table, make, own_model, time_table
from test_page import write_folder

from gradlab.cli.main import main
from gradlab.report import html
from gradlab.report.build import build
from gradlab.store.results import Results

pytestmark = pytest.mark.slow
SWITCHES = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars --disable-dev-shm-usage"
)
SCREENSHOTS = os.environ.get("GRADLAB_SCREENSHOTS")  # a folder to keep them in, for looking at
AXE = Path(
    os.environ.get("GRADLAB_AXE", Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js")
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed (extra: browser)")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("chromium or chromedriver is not installed (Debian: chromium, chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for switch in [*SWITCHES.split(), f"--user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    found = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=driver))
    found.set_script_timeout(120)
    yield found
    found.quit()


@pytest.fixture(scope="module")
def run_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = make(("sigmoid",), (20,))
    made.layers.loc[(made.layers["layer"] == 1) & (made.layers["step"] > 0), "delta_rms"] = 0.0
    made.layers.loc[(made.layers["layer"] == 2) & (made.layers["step"] > 99), ["delta_rms", "nonfinite"]] = [
        np.nan,
        3,
    ]
    return build([write_folder(made, tmp_path_factory.mktemp("run"))], ("html",)).files[0]


@pytest.fixture(scope="module")
def grid_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = make(("sigmoid", "relu", "tanh", "<b>linear</b>"), (5, 20))
    return build([write_folder(made, tmp_path_factory.mktemp("grid"))], ("html",)).files[0]


def show(browser: Any, page: Path, width: int = 1440, scheme: str = "light") -> None:
    browser.get_log("browser")
    browser.get_log("performance")
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get(page.as_uri())
    for _ in range(100):
        if browser.execute_script("return document.documentElement.dataset.ready") == "yes":
            return
        time.sleep(0.1)
    pytest.fail(f"the page is not ready: {browser.get_log('browser')}")


def requests(browser: Any, page: Path) -> list[str]:
    """The addresses asked for since the page was opened, but for the page itself and data inside it."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    own = [p["request"]["url"] for p in sent if p.get("documentURL", "").startswith(page.as_uri())]
    return [url for url in own if not url.startswith(("data:", "blob:", page.as_uri()))]


def traces(browser: Any, plot: str) -> Any:
    script = (
        "return document.getElementById(arguments[0]).data.map(t => ({name: t.name, text: t.text, y: t.y}))"
    )
    return browser.execute_script(script, plot)


def set_step(browser: Any, place: int) -> None:
    script = "const s = document.getElementById('step'); s.value = arguments[0]; s.dispatchEvent(new Event('input'));"
    browser.execute_script(script, place)


def column(browser: Any, table: str, nth: int) -> list[str]:
    script = "return [...document.getElementById(arguments[0]).tBodies[0].rows].filter(r => !r.hidden)"
    return browser.execute_script(f"{script}.map(r => r.cells[arguments[1]].textContent.trim())", table, nth)  # type: ignore[no-any-return]


@pytest.mark.parametrize("width", [360, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_error_no_request_not_blank_and_no_sideways_scrolling(
    browser: Any, run_page: Path, grid_page: Path, width: int, scheme: str
) -> None:
    from matplotlib import image

    for page in (run_page, grid_page):
        show(browser, page, width, scheme)
        script = "return [document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
        wide, high = browser.execute_script(script)
        assert wide <= width
        area = {"x": 0, "y": 0, "width": width, "height": min(high, 6000), "scale": 1}
        shot = browser.execute_cdp_cmd(
            "Page.captureScreenshot", {"captureBeyondViewport": True, "clip": area}
        )
        path = Path(SCREENSHOTS or page.parent) / f"{page.parent.name}-{width}-{scheme}.png"
        path.write_bytes(base64.b64decode(shot["data"]))
        pixels = image.imread(path)[..., :3]
        background = pixels[-1, 0].mean()
        assert background > 0.9 if scheme == "light" else background < 0.2
        for top in range(0, pixels.shape[0] - 900, 900):  # no screenful is empty
            assert (np.abs(pixels[top : top + 900] - pixels[-1, 0]).max(axis=2) > 0.2).mean() > 0.005
        assert browser.get_log("browser") == []
        assert requests(browser, page) == []


def test_the_slider_moves_plots_table_and_words(browser: Any, run_page: Path) -> None:
    show(browser, run_page)
    before = traces(browser, "plot-delta"), column(browser, "layer-table", 1)
    set_step(browser, 4)
    after = traces(browser, "plot-delta"), column(browser, "layer-table", 1)
    assert before != after
    assert after[1][0] == "0" and after[1][1] == "inf or nan"
    assert {trace["name"] for trace in after[0] if trace["name"]} == {"step 0", "step 100", "theory, step 0"}
    current = next(t for t in after[0] if t["name"] == "step 100")
    assert current["text"][2:] == after[1][2:] and current["y"][:2] == [None, None]
    text = browser.execute_script("return document.getElementById('step-text').textContent")
    assert text == "step 100 of 1000"
    line = browser.execute_script("return document.getElementById('plot-loss').layout.shapes[0].x0")
    assert line == 100


def test_the_ridges_follow_the_slider_and_the_quantity(browser: Any, tmp_path: Path) -> None:
    flags = "run --activation relu --depth 3 --width 8 --data moons --steps 8 --record every:2 --histograms"
    assert main([*flags.split(), "--quiet", "--out", str(tmp_path / "run"), "--report"]) == 0
    show(browser, tmp_path / "run" / "report.html")
    before = traces(browser, "plot-ridges")
    assert [t["name"] for t in before if t["name"].startswith("layer")] == [
        "layer output", "layer 3", "layer 2", "layer 1",
    ]  # fmt: skip
    assert any(t["name"].startswith("exactly 0") for t in before)
    set_step(browser, 4)
    moved = traces(browser, "plot-ridges")
    assert moved != before
    assert browser.find_element("id", "ridges-step").text == "step 8"
    choose = (
        "const q = document.getElementById('quantity'); q.value = 'h'; q.dispatchEvent(new Event('change'));"
    )
    browser.execute_script(choose)
    assert len([t for t in traces(browser, "plot-ridges") if t["name"].startswith("layer")]) == 3
    assert browser.get_log("browser") == []


def test_the_keyboard_moves_the_slider(browser: Any, run_page: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    show(browser, run_page)
    slider = browser.find_element("id", "step")
    slider.send_keys(Keys.ARROW_RIGHT)
    slider.send_keys(Keys.ARROW_RIGHT)
    assert slider.get_attribute("aria-valuetext") == "step 4 of 1000"


def test_sorting_and_filtering_the_ranking(browser: Any, grid_page: Path) -> None:
    show(browser, grid_page)
    heads = browser.execute_script(
        "return [...document.querySelectorAll('#cells thead th')].map(h => h.textContent)"
    )
    press = "document.querySelectorAll('#cells thead button')[arguments[0]].click()"
    nth = heads.index("attenuation")
    browser.execute_script(press, nth)

    def numbers() -> list[float]:
        return [float(v.replace("−", "-")) for v in column(browser, "cells", nth)]

    values = numbers()
    assert len(values) == 8 and values == sorted(values)
    browser.execute_script(press, nth)
    assert numbers() == sorted(values, reverse=True)
    sorted_now = browser.execute_script("return document.querySelector('#cells [aria-sort]').textContent")
    assert sorted_now == "attenuation"
    browser.find_element("id", "filter").send_keys("sigmoid depth 20")
    assert column(browser, "cells", 1) == ["sigmoid"]
    assert browser.find_element("id", "filtered").text == "1 of 8 cells"


def test_choosing_a_cell_shows_that_cell(browser: Any, grid_page: Path) -> None:
    show(browser, grid_page)
    script = "[...document.querySelectorAll('#cells a')].find(a => a.textContent === 'tanh').click()"
    browser.execute_script(script)
    chosen = browser.execute_script(
        "return document.getElementById('cell-choice').selectedOptions[0].textContent"
    )
    assert chosen.startswith("tanh")
    label = browser.execute_script("return document.getElementById('plot-map').getAttribute('aria-label')")
    assert chosen in label
    browser.execute_script(
        "const m = document.getElementById('map'); m.value = 'saturated_fraction'; m.dispatchEvent(new Event('change'))"
    )
    top = browser.execute_script("return Math.max(...document.getElementById('plot-map').data[0].z.flat())")
    assert top == pytest.approx(0.3, abs=0.001)
    assert "<b>linear</b>" in column(browser, "cells", 1)
    names = "return [...document.querySelectorAll('#plot-profiles .legendtext')].map(t => t.textContent)"
    assert "<b>linear</b>" in browser.execute_script(names)  # not read as markup


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(browser: Any, run_page: Path, grid_page: Path, scheme: str) -> None:
    if not AXE.exists():
        pytest.skip("axe-core is not installed (npm install axe-core, or GRADLAB_AXE=path of axe.min.js)")
    for page in (run_page, grid_page):
        show(browser, page, scheme=scheme)
        browser.execute_script(AXE.read_text(encoding="utf-8"))
        found = browser.execute_async_script("axe.run().then(arguments[0])")["violations"]
        assert [(v["impact"], v["id"], [n["target"] for n in v["nodes"]]) for v in found] == []


def test_nothing_offers_to_send_the_numbers_away(browser: Any, run_page: Path) -> None:
    """Plotly has a button that uploads a plot to its makers' cloud."""
    show(browser, run_page)
    script = "return [...document.querySelectorAll('.modebar-btn')].map(b => b.dataset.title)"
    titles = browser.execute_script(script)
    assert "Zoom in" in titles and not [t for t in titles if "share" in t.lower() or "cloud" in t.lower()]


def test_plots_are_laid_out_for_paper_and_come_back(browser: Any, run_page: Path) -> None:
    """A4 without its margins is 702 pixels wide; the page is drawn light."""
    from selenium.webdriver.support.wait import WebDriverWait

    show(browser, run_page, scheme="dark")
    script = """return [...document.querySelectorAll('.plot')].filter(p => p.data)
        .map(p => [p.closest('.wide') !== null, p._fullLayout.width, p._fullLayout.paper_bgcolor])"""
    before = browser.execute_script(script)
    browser.execute_script("window.dispatchEvent(new Event('beforeprint'))")
    for wide, width, colour in browser.execute_script(script):
        assert width <= (690 if wide else 340) and colour == "#ffffff"
    browser.execute_script("window.dispatchEvent(new Event('afterprint'))")
    WebDriverWait(browser, 20).until(lambda shown: shown.execute_script(script) == before)


def test_long_names_in_a_legend_do_not_squeeze_the_plot(browser: Any, tmp_path: Path) -> None:
    names = tuple(f"leaky_relu:negative_slope=0.{n}" for n in range(1, 9))
    page = build([write_folder(make(names, (5, 20)), tmp_path)], ("html",)).files[0]
    for width in (360, 1440):
        show(browser, page, width)
        script = "return document.getElementById(arguments[0])._fullLayout._size.h"
        for plot in ("plot-accuracy-depth", "plot-profiles"):
            assert browser.execute_script(script, plot) > 110
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width


def test_two_hundred_cells_are_small_and_open(browser: Any, tmp_path: Path) -> None:
    """How soon they open depends on the machine: it is printed."""
    made = make(("relu", "tanh", "sigmoid", "linear"), tuple(range(1, 51)), seeds=1, steps=tuple(range(20)))
    page = build([write_folder(made, tmp_path)], ("html",)).files[0]
    assert page.stat().st_size < 15e6
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        show(browser, page)
        seconds.append(time.perf_counter() - began)
    assert len(column(browser, "cells", 0)) == 200
    print(f"{page.stat().st_size / 1e6:.1f} MB, ready after {min(seconds):.2f} s")


def test_a_page_of_one_run_is_small_and_answers_on_its_first_screen(browser: Any, run_page: Path) -> None:
    assert run_page.stat().st_size < 2.5e6
    show(browser, run_page)
    low = "return [...document.querySelectorAll('#verdict h1, #verdict dd, #verdict figure > svg')]"
    ends = browser.execute_script(f"{low}.map(e => e.getBoundingClientRect().bottom)")
    assert len(ends) > 6 and max(ends) <= 900, (
        "what, how sure, why, what to try and the picture, without scrolling"
    )
    questions = [each.text for each in browser.find_elements("css selector", "#verdict .facts dt")]
    assert questions == ["Verdict", "Trained", "How sure", "Why", "Try"]


def test_a_browser_that_cannot_unpack_the_charts_says_so_and_keeps_the_rest(
    browser: Any, grid_page: Path
) -> None:
    script = {"source": "delete window.DecompressionStream"}
    added = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", script)
    try:
        show(browser, grid_page)
        assert browser.find_element("id", "no-charts").is_displayed()
        assert not [each for each in browser.find_elements("class name", "plot") if each.is_displayed()]
        assert len(column(browser, "cells", 0)) == 8 and browser.get_log("browser") == []
    finally:
        browser.execute_cdp_cmd(
            "Page.removeScriptToEvaluateOnNewDocument", {"identifier": added["identifier"]}
        )


def test_a_comparison_answers_on_its_first_screen_and_no_table_is_cut(browser: Any, grid_page: Path) -> None:
    show(browser, grid_page)
    low = "return [...document.querySelectorAll('#verdict h1, #verdict dd, #verdict table')]"
    assert max(browser.execute_script(f"{low}.map(e => e.getBoundingClientRect().bottom)")) <= 900
    cut = "return [...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth).length"
    assert browser.execute_script(cut) == 0
    commands = browser.find_elements("css selector", "#cell-verdict .cmd code")
    assert [each.text.split()[:2] for each in commands] == [["gradlab", "run"]], "the advice is whole"


def test_time_and_attention_are_drawn_and_follow_the_step_and_the_choice(
    browser: Any, tmp_path: Path
) -> None:
    made = own_model()
    frames = {name: getattr(made, name) for name in ("layers", "steps", "summary")}
    frames |= {"time": time_table(made), "attention": attention_table(made)}
    page = html.write(
        [Results(tmp_path, None, {}, {"finished": True}, _frames=frames)], tmp_path / "page.html"
    )
    show(browser, page)
    names = [trace["name"] for trace in traces(browser, "plot-time")]
    assert names == ["rnn.l0", "rnn.l1"] and len(traces(browser, "plot-time")[0]["y"]) == 9
    assert traces(browser, "plot-attention")[1]["y"] == [0.41, 0.42]
    assert browser.find_element("id", "plot-time").is_displayed() and browser.get_log("browser") == []


def test_the_explorer_opens_from_a_page_with_its_net(browser: Any, run_page: Path) -> None:
    show(browser, run_page)
    address = browser.find_element("id", "explorer").get_attribute("href")
    assert address.startswith("blob:") and address.endswith("#sigmoid&20&1&0")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_of_reproductions_fits_and_axe_finds_nothing(
    browser: Any, tmp_path: Path, scheme: str
) -> None:
    from gradlab.papers import page, registry, reproduction
    from gradlab.papers.rows import Verdict

    found = reproduction.reproduce(registry.find(["williams-1998"])[0], quick=True)
    claim = Verdict("1", "a claim", "it depends", "on the numbers")
    path = page.write([replace(found, verdicts=[claim])], tmp_path)
    for width in (390, 1440):
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        browser.get(path.as_uri())
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        assert browser.find_element("id", "explorer").get_attribute("href").startswith("blob:")
        if AXE.exists():
            browser.execute_script(AXE.read_text(encoding="utf-8"))
            violations = browser.execute_async_script("axe.run().then(arguments[0])")["violations"]
            assert [(v["impact"], v["id"], [n["target"] for n in v["nodes"]]) for v in violations] == []
