"""The page: what it holds, that nothing foreign can break out of it, and how it behaves in a real headless Chromium."""

from __future__ import annotations

import dataclasses
import html
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from _fake_attacks import planted, study
from _fake_study import HALF, NEVER, TWICE, UNIFORM, World, fake_study
from robuststream.evidence.summary import in_order, summarise
from robuststream.records import read_study
from robuststream.reporting.page import as_html, as_json, render_page
from robuststream.reporting.report import context

NASTY = "</script><script>document.title='broken'</script>"
ARMS = (UNIFORM, TWICE, HALF, NEVER)
WORLDS = (World(), World("noisy", "label-noise", wrong=0.4))


def page_of(folder: Path) -> str:
    study, runs = read_study(folder)
    summary = summarise(study, runs)
    finished = in_order(study, [run for run in runs if run.result is not None])
    return render_page(study, summary, finished, context(study, runs, summary))


def data_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found
    return json.loads(found[1])


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    return page_of(fake_study(tmp_path_factory.mktemp("page") / "fake", ARMS, WORLDS))


@pytest.fixture(scope="module")
def nasty(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A study whose names are an attack."""
    arm = dataclasses.replace(TWICE, label=NASTY, settings={NASTY: NASTY})
    world = dataclasses.replace(WORLDS[1], label=NASTY, figures={NASTY: 1.0})
    return page_of(fake_study(tmp_path_factory.mktemp("nasty") / "fake", (UNIFORM, arm), (World(), world)))


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> str:
    return page_of(study(tmp_path_factory.mktemp("attacked") / "fake", lambda sampler, seed: [planted(sampler, seed)]))


# Without a browser


def test_the_data_hold_what_was_planted(page: str) -> None:
    data = data_of(page)
    cell = next(cell for cell in data["cells"] if (cell["sampler"], cell["scenario"]) == ("plb", "noisy"))
    assert cell["gap"] == pytest.approx([2.0, 2.0, 2.0])
    assert cell["test"][0] == pytest.approx(91.0)
    assert cell["speed"]["T95 flops"][0] == pytest.approx(2.09, abs=0.01)
    assert set(cell["speed"]) == {f"{rung} {key}" for rung in data["rungs"] for key in ("step", "backwards", "flops", "seconds")}
    assert next(one for one in data["cells"] if one["sampler"] == "owc")["speed"] == {}
    assert data["currencies"][0]["key"] == "flops"
    assert {key: len(lines) for key, lines in data["curves"].items()} == dict.fromkeys(data["curves"], 8)
    line = next(line for line in data["curves"]["step"] if line["sampler"] == "uniform")
    assert (line["x"][-1], line["mean"][-1]) == (200.0, pytest.approx(90.0))
    run = data["runs"][0]
    assert dict(zip(data["fact_names"], run["facts"], strict=True))["totals.steps"] == 200
    assert len(data["runs"]) == 40


def test_robust_accuracy_is_among_the_data_where_it_was_measured(page: str, attacked: str) -> None:
    data = data_of(attacked)
    assert data["robust"] == ["robust accuracy, eps 8/255, 200 examples"]
    cells = {cell["sampler"]: cell["robust"][0] for cell in data["cells"]}
    assert cells["plb"]["share"][0] == pytest.approx(30.0)
    assert cells["plb"]["gap"] == pytest.approx([-10.0, -10.0, -10.0])
    assert cells["uniform"]["gap"] is None
    assert data_of(page)["robust"] == []
    assert 'id="upward"' in attacked
    assert 'id="upward"' not in page


def test_the_page_asks_for_nothing_and_is_small(page: str) -> None:
    addresses = set(re.findall(r"https?://[^\s\"'`]+", page))
    assert addresses <= {"http://www.w3.org/2000/svg"}  # a name of a kind of element, which nobody fetches
    assert "default-src 'none'" in page
    assert not re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=\"(?!data:)", page)
    assert len(page.encode()) < 250_000


def test_foreign_names_stay_text(nasty: str) -> None:
    assert "<script>document" not in nasty
    assert nasty.count("</script>") == 2  # the data's and the page's own
    data = data_of(nasty)
    assert data["samplers"][1]["label"] == NASTY
    assert data["scenarios"][1]["label"] == NASTY
    assert not set("<>&\u2028") & set(as_json(["\u2028 & <!--<script é"]))
    assert json.loads(as_json(["\u2028 & <!--<script é"])) == ["\u2028 & <!--<script é"]
    with pytest.raises(ValueError, match="JSON"):
        as_json(float("nan"))


def test_sentences_keep_bold_and_code_and_no_other_markup() -> None:
    assert as_html("**a** and `b`: &lt;i&gt;") == "<strong>a</strong> and <code>b</code>: &lt;i&gt;"


def test_a_study_without_a_finished_run_or_without_uniform_has_a_page(tmp_path: Path) -> None:
    none = page_of(fake_study(tmp_path / "none", (UNIFORM, TWICE), seeds=1, skip=2))
    assert "No run of this study has finished yet" in none
    assert 'id="data"' not in none
    without = page_of(fake_study(tmp_path / "without", (TWICE, HALF)))
    assert data_of(without)["cells"][0]["gap"] is None


def test_figures_that_are_no_numbers_leave_gaps(tmp_path: Path) -> None:
    """NaN and infinity are no JSON: a run that diverged must not cost the page."""
    changes = {"diverged": True, "last.test_accuracy": float("nan"), "seconds.compile": float("inf")}
    data = data_of(page_of(fake_study(tmp_path / "lost", (UNIFORM, TWICE), seeds=2, changes=changes)))
    facts = dict(zip(data["fact_names"], data["runs"][0]["facts"], strict=True))
    assert (facts["last.test_accuracy"], facts["seconds.compile"]) == (None, "inf")
    assert data["cells"][1]["test"] is None


# In a browser


class Window:
    """A page in headless Chromium, and what it logged."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, path: Path, width: int = 1280) -> Window:
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self.logs()
        self.driver.get(path.as_uri())
        return self

    def logs(self) -> tuple[list[dict[str, Any]], list[str]]:
        """Console entries, and addresses that were asked for, since the last call."""
        asked = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        urls = [event["params"]["request"]["url"] for event in asked if event["method"] == "Network.requestWillBeSent"]
        return self.driver.get_log("browser"), urls

    def run(self, script: str) -> Any:
        return self.driver.execute_script(script)

    def click(self, selector: str) -> None:
        self.run(f"document.querySelector({json.dumps(selector)}).click()")

    def column(self, place: int) -> list[str]:
        return self.run(f"return [...document.querySelectorAll('#table tbody tr')].map(row => row.children[{place}].textContent)")


@pytest.fixture(scope="module")
def window() -> Iterator[Window]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed (the extra 'test')")
    chromium, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("no chromium with chromedriver here (Debian: chromium, chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield Window(opened)
    opened.quit()


@pytest.fixture
def shown(window: Window, page: str, tmp_path: Path) -> Window:
    path = tmp_path / "report.html"
    path.write_text(page)
    return window.open(path)


def test_it_loads_without_errors_and_without_any_request(shown: Window) -> None:
    shown.click("#theme")
    shown.click("#currency label:nth-of-type(3) input")
    console, urls = shown.logs()
    assert console == []
    assert [url for url in urls if not url.startswith(("file:", "data:"))] == []
    assert len([url for url in urls if url.startswith("file:")]) == 1
    assert shown.run("return document.querySelectorAll('#curves polyline').length") == 8
    assert len(shown.column(0)) == 8


def test_the_table_sorts_both_ways_with_gaps_last(shown: Window) -> None:
    shown.click("[data-key=test]")
    down = [float(cell.split()[0]) for cell in shown.column(3)]
    assert down == sorted(down, reverse=True)
    assert shown.run("return document.querySelector('[data-key=test]').closest('th').getAttribute('aria-sort')") == "descending"
    shown.click("[data-key=test]")
    assert [float(cell.split()[0]) for cell in shown.column(3)] == sorted(down)
    shown.click("[data-key=speed]")
    speeds = shown.column(6)
    assert [cell[:4] for cell in speeds[:2]] == ["2.09", "2.09"]
    assert set(speeds[2:]) == {"–", "baseline"}


def test_it_filters_by_text_sampler_and_scenario(shown: Window) -> None:
    type_in = "const box = document.getElementById('filter'); box.value = '{}'; box.dispatchEvent(new Event('input'))"
    shown.run(type_in.format("NOIS pl"))
    assert (shown.column(0), shown.column(1)) == (["plb"], ["noisy"])
    assert shown.run("return document.getElementById('status').textContent") == "1 of 8 rows"
    shown.run(type_in.format(""))
    shown.click("#samplers input[value=owc]")
    assert shown.column(0) == ["uniform", "plb", "lb"] * 2
    assert shown.run("return document.querySelectorAll('#curves polyline').length") == 6
    shown.run("const box = document.getElementById('scenario'); box.value = 'noisy'; box.dispatchEvent(new Event('change'))")
    assert shown.column(1) == ["noisy"] * 3
    assert shown.run("return document.querySelectorAll('#curves figure').length") == 1


def test_the_cost_axis_and_the_target_switch(shown: Window) -> None:
    def axis() -> str:
        return shown.run("return document.querySelector('#curves figure > svg').getAttribute('aria-label')")

    assert "charged compute, uniform epochs" in axis()
    told = {"seconds": "seconds", "backwards": "backwards", "flops": "charged FLOPs", "step": "steps"}
    axes = set()
    for currency, name in told.items():
        shown.click(f"#currency input[value={currency}]")
        axes.add(axis())
        assert f"speed-up to T95, {name}" in shown.run("return document.querySelector('[data-key=speed]').textContent")
        assert shown.run("return document.querySelectorAll('#curves polyline').length") == 8
    assert len(axes) == 4
    assert "against steps" in axis()
    before = shown.column(6)
    shown.run("const box = document.getElementById('rung'); box.value = 'T90'; box.dispatchEvent(new Event('change'))")
    assert shown.column(6) != before


def test_the_plane_shows_robust_accuracy_on_demand(window: Window, attacked: str, tmp_path: Path) -> None:
    """plb is faster and less robust, lb slower and more robust, so with uniform all three are the front."""
    (tmp_path / "report.html").write_text(attacked)
    window.open(tmp_path / "report.html")
    told = "return [...document.querySelectorAll('#plane .point')].map(one => one.getAttribute('aria-label'))"
    front = "return document.querySelector('#plane .front').points.length"
    before = window.run(told)
    assert all("every attack" not in line for line in before)
    assert window.run(front) == 1  # plb is ahead in both
    window.run("const box = document.getElementById('upward'); box.value = '0'; box.dispatchEvent(new Event('change'))")
    after = window.run(told)
    assert len(after) == len(before) == 2
    assert after[0].startswith("plb in clean: speed-up 2.")
    assert after[0].endswith("gap -10.00 [-10.00, -10.00] points, 30.0 % stand every attack")
    assert window.run(front) == 3
    assert window.logs()[0] == []


def test_a_run_is_opened_with_its_settings(shown: Window) -> None:
    shown.run("[...document.querySelectorAll('#table tbody button')].find(one => one.textContent === 'plb').click()")
    assert shown.run("return document.getElementById('details').open")
    text = shown.run("return document.getElementById('facts').textContent")
    assert "warmup_epochs1.0" in text
    assert "labels.hashclean-0" in text
    shown.run("const box = document.getElementById('run'); box.value = '3'; box.dispatchEvent(new Event('change'))")
    assert "labels.hashclean-3" in shown.run("return document.getElementById('facts').textContent")
    shown.click("#shut")
    assert not shown.run("return document.getElementById('details').open")


def test_values_are_read_by_pointer_and_by_keyboard(shown: Window) -> None:
    shown.run(
        "const one = document.querySelector('#curves figure > svg'), box = one.getBoundingClientRect();"
        "one.dispatchEvent(new PointerEvent('pointermove', {clientX: box.left + box.width / 2, clientY: box.top + 20}))"
    )
    assert "plb" in shown.run("return document.getElementById('tip').hidden ? '' : document.getElementById('tip').textContent")
    shown.run(
        "const one = document.querySelector('#curves figure > svg'); one.focus();"
        "one.dispatchEvent(new KeyboardEvent('keydown', {key: 'End'}))"
    )
    told = shown.run("return document.getElementById('reader').textContent")
    assert told.startswith("clean, 10 charged compute")
    assert "uniform 90.0 %" in told


def test_everything_that_can_be_used_has_a_name_and_is_reached_by_keyboard(shown: Window) -> None:
    nameless = shown.run(
        "return [...document.querySelectorAll('button, input, select, svg[tabindex], path[tabindex]')].filter(one =>"
        " !(one.labels && one.labels.length) && !one.textContent.trim() && !one.getAttribute('aria-label'))"
        ".map(one => one.outerHTML)"
    )
    assert nameless == []
    assert shown.run("return document.querySelectorAll('#plane [tabindex=\"0\"]').length") == 6
    assert shown.run("return [...document.querySelectorAll('[onclick]')].length") == 0


def test_with_keys_alone_it_is_sorted_and_a_run_opened(shown: Window) -> None:
    """Real keys, as a browser gets them: Tab to every control, Enter to sort, Enter to open a sampler, Escape to close it."""
    actions, keys = (pytest.importorskip(f"selenium.webdriver.common.{name}") for name in ("action_chains", "keys"))

    def press(key: str) -> str:
        actions.ActionChains(shown.driver).send_keys(key).perform()
        return shown.run("const one = document.activeElement; return one.dataset.key || one.id || one.closest('[id]')?.id || ''")

    def tab_to(wanted: str) -> list[str]:
        seen = [press(keys.Keys.TAB)]
        while seen[-1] != wanted and len(seen) < 100:
            seen.append(press(keys.Keys.TAB))
        assert seen[-1] == wanted
        return seen

    seen = tab_to("test")
    assert {"theme", "currency", "rung", "scenario", "samplers", "close", "curves", "plane", "filter"} <= set(seen)
    assert press(keys.Keys.ENTER) == "test", "the focus stays on the column"
    assert shown.run("return document.activeElement.closest('th').getAttribute('aria-sort')") == "descending"
    tab_to("table")
    press(keys.Keys.ENTER)
    assert shown.run("return document.getElementById('details').open")
    press(keys.Keys.ESCAPE)
    assert not shown.run("return document.getElementById('details').open")
    assert shown.run("return document.activeElement.closest('tbody') !== null"), "and goes back to where it came from"


def test_light_and_dark_differ_and_can_be_switched(shown: Window) -> None:
    def ground() -> str:
        return shown.run("return getComputedStyle(document.body).backgroundColor")

    seen = []
    for scheme in ("light", "dark"):
        feature = {"name": "prefers-color-scheme", "value": scheme}
        shown.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        seen.append(ground())
    assert seen[0] != seen[1]
    shown.click("#theme")
    assert ground() == seen[0]
    shown.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_runs_out_of_the_window(window: Window, page: str, tmp_path: Path, width: int) -> None:
    path = tmp_path / "report.html"
    path.write_text(page)
    window.open(path, width)
    assert window.run("return document.documentElement.scrollWidth") <= width


def test_an_attack_in_a_name_is_shown_as_text(window: Window, nasty: str, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(nasty)
    window.open(path)
    assert window.driver.title == "fake"
    assert NASTY in window.column(0)
    assert window.logs()[0] == []
    assert html.escape(NASTY, quote=False) in window.run("return document.querySelector('.verdict').innerHTML")
