"""The explorer in real headless Chromium: its profiles are those of `gradlab.theory`, and its words follow."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_page_in_browser import AXE, browser, requests, show  # noqa: F401

from gradlab import theory
from gradlab.activations.lookup import registered
from gradlab.activations.registry import REGISTRY

pytestmark = pytest.mark.slow
EXPLORER = Path(__file__).parents[2] / "docs" / "explorer.html"
NETS = ((20, 1.0, 0.0), (50, 1.5, 0.2), (200, 0.3, 1.5), (30, 4.0, 0.0), (10, 12.0, 2.0), (50, 1.414, 0.0))


def test_every_profile_is_the_theorys(browser: Any) -> None:  # noqa: F811
    show(browser, EXPLORER)
    known = [
        name
        for name, entry in REGISTRY.items()
        if (found := registered(name)) is not None and found.elementwise and not entry.short
    ]
    options = "return [...document.getElementById('activation').options].map(o => o.value)"
    assert browser.execute_script(options) == known
    script = "return explore(...arguments).logs.map(v => Number.isFinite(v) ? v : null)"
    for name in known:
        for depth, sigma_w, sigma_b in NETS:
            found = np.array(browser.execute_script(script, name, depth, sigma_w, sigma_b), dtype=float)
            true = theory.predict(name, depth=depth, sigma_w=sigma_w, sigma_b=sigma_b).delta_rms_ratio
            known_there = np.isfinite(true) & (true > 0)
            np.testing.assert_allclose(10 ** found[known_there], true[known_there], rtol=1e-3)
    relu = browser.execute_script("return explore('relu', 5, 1, 0).logs[3]")
    assert 10**relu == pytest.approx(0.5**0.5), "scale 1 keeps 0.707 of delta a layer, not 0.5"


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_quiet_and_accessible_and_follows_the_sliders(browser: Any, width: int, scheme: str) -> None:  # noqa: F811
    show(browser, EXPLORER, width, scheme)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    move = "const f = document.getElementById(arguments[0]); f.value = arguments[1];"
    move += "f.dispatchEvent(new Event('input', {bubbles: true}))"
    browser.execute_script(move, "activation", "relu")
    browser.execute_script(move, "sigma_w", "1.414")
    assert "the gradient survives" in browser.find_element("id", "headline").text
    assert "--init gaussian:sigma_w=1.414" in browser.find_element("id", "command").text
    assert browser.get_log("browser") == [] and requests(browser, EXPLORER) == []
    if AXE.exists():
        browser.execute_script(AXE.read_text(encoding="utf-8"))
        found = browser.execute_async_script("axe.run().then(arguments[0])")["violations"]
        assert [(v["impact"], v["id"], [n["target"] for n in v["nodes"]]) for v in found] == []
