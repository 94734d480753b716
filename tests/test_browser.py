"""The board in a real browser: sort, filter, open a cell; no request, no console error, no serious fault to axe."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from report_factory import make_chosen, make_record, make_robustness
from test_board import EVIL, made
from test_verify import board as folder_with
from test_verify import real

from jkbench.execute.serve import Board, server
from jkbench.plugins.discovery import Index
from jkbench.records.store import Store

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
AXE = ROOT / ".axe/package/axe.min.js"
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
if CHROMIUM is None:
    pytest.skip("no Chromium is installed (apt-get install chromium)", allow_module_level=True)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def file(index: Index, tmp_path_factory: pytest.TempPathFactory) -> Path:
    chosen = make_chosen()
    evil = make_record(chosen.task, EVIL, 5, 0, method=EVIL, id="evil", parameters={EVIL: EVIL})
    chosen.records.append(evil)
    path = tmp_path_factory.mktemp("board") / "index.html"
    path.write_text(made(index, chosen, make_robustness()))
    return path


@pytest.fixture
def page(browser: Any, file: Path) -> Iterator[Any]:
    """The board, opened; afterwards: no error was told, and nothing but the file was asked for."""
    opened = browser.new_page(viewport={"width": 1200, "height": 900})
    told: list[str] = []
    asked: list[str] = []
    opened.on("console", lambda message: told.append(message.text))
    opened.on("pageerror", lambda error: told.append(str(error)))
    opened.on("dialog", lambda dialog: told.append(f"dialog: {dialog.message}"))
    opened.on("request", lambda request: asked.append(request.url))
    opened.goto(file.as_uri())
    yield opened
    assert told == []
    assert set(asked) == {file.as_uri()}
    opened.close()


def names(page: Any) -> list[str]:
    return page.locator("#digits-fewshot .wide").first.locator("tbody tr[data-row]:visible th").all_inner_texts()


def test_sort_by_a_column(page: Any) -> None:
    table = page.locator("#digits-fewshot table").first
    head = table.locator("thead th").nth(1)
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "descending"

    def values() -> list[float]:
        cells = table.locator("tbody").first.locator("tr[data-row] td:nth-child(2)")
        return [float(v) for v in cells.evaluate_all("cells => cells.map(c => c.dataset.value)") if v]

    down = values()
    assert down == sorted(down, reverse=True)
    head.locator("button").press("Enter")  # by keyboard
    assert head.get_attribute("aria-sort") == "ascending"
    assert values() == sorted(down)


def test_filter_rows_columns_and_tasks(page: Any) -> None:
    every = names(page)
    page.fill("#method", "jacobian[")
    assert names(page) == [name for name in every if "jacobian[" in name]
    assert page.locator("#digits-fewshot .count").inner_text() == f"{len(names(page))} of {len(every)} rows"
    shown = page.locator("#digits-fewshot figure g[data-row]:visible").evaluate_all("g => g.map(e => e.dataset.row)")
    assert set(shown) == set(names(page))
    page.click("button[type=reset]")
    page.wait_for_function("document.querySelector('#method').value === ''")
    page.select_option("#shots", "5")
    heads = page.locator("#digits-fewshot table").first.locator("thead th:visible").all_inner_texts()
    assert heads[:3] == ["method", "5 per class", "ms a step"]
    page.select_option("#family", "robustness")
    assert not page.locator("#digits-fewshot").is_visible()
    assert page.locator("#digits-noise").is_visible()
    page.reload()  # a filter is part of the address
    assert not page.locator("#digits-fewshot").is_visible()
    page.click("button[type=reset]")
    page.wait_for_function("document.querySelector('#family').value === ''")
    page.fill("#seeds", "5")
    assert EVIL not in names(page)
    page.fill("#seeds", "")
    page.fill("#cost", "1")
    assert 0 < len(names(page)) < len(every)
    page.fill("#cost", "")
    page.select_option("#signal", "jacobian")
    assert "jacobian" in names(page)
    assert "scratch" not in names(page)
    page.goto(page.url.partition("#")[0])


def test_open_a_cell_by_keyboard(page: Any) -> None:
    button = page.locator('#digits-fewshot tr[data-row="jacobian[ce=0]"] [data-cell="5|accuracy"]').first
    button.focus()
    page.keyboard.press("Enter")
    dialog = page.locator("dialog[open]")
    dialog.wait_for()
    text = dialog.inner_text()
    assert "jacobian[ce=0], 5 per class" in text
    assert "digits-fewshot-jacobian[ce=0]-5-4" in text
    assert "--shots 5 --seeds 0,1,2,3,4" in text
    assert "0123456789abcdef" in text  # the commit
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0
    assert button.evaluate("button => document.activeElement === button")


def test_open_all_tables_of_a_task(page: Any) -> None:
    details = page.locator("#digits-fewshot details")
    details.locator("summary").focus()
    page.keyboard.press("Enter")
    gains = details.locator("table").first
    gains.wait_for()
    assert "Gain over" in gains.locator("caption").inner_text()
    assert EVIL in details.inner_text()
    assert page.locator("img").count() == 0
    gains.locator("thead button").nth(1).click()
    assert gains.locator("thead th").nth(1).get_attribute("aria-sort") == "descending"
    assert "needs JavaScript" not in details.inner_text()


def test_a_record_that_names_a_script_is_text(page: Any) -> None:
    page.locator(f"#digits-fewshot tr[data-row='{EVIL}'] [data-cell='5|accuracy']").first.click()
    page.locator("dialog[open]").wait_for()
    assert EVIL in page.locator("dialog").inner_text()
    assert page.locator("img").count() == 0


def test_loss_curves_are_drawn(browser: Any, index: Index, tmp_path: Path) -> None:
    from jkbench.records.select import Chosen

    record = real("jacobian")
    from jkbench.tasks import task as tasks

    path = tmp_path / "index.html"
    path.write_text(made(index, Chosen(tasks.load("digits-fewshot"), [record])))
    opened = browser.new_page()
    opened.goto(path.as_uri())
    opened.locator("[data-cell]").first.click()
    opened.locator("dialog[open] figure").first.wait_for()
    assert opened.locator("dialog figcaption").all_inner_texts() == list(record.curves)
    points = opened.locator("dialog polyline").first.get_attribute("points").split()
    assert len(points) >= 10
    assert "NaN" not in " ".join(points)
    opened.close()


@pytest.mark.parametrize("width", [360, 800, 1440])
def test_nothing_leaves_the_screen(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator("[data-cell]").first.click()
    page.locator("dialog[open]").wait_for()
    box = page.locator("dialog").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width


def test_without_a_script_the_tables_are_there(browser: Any, file: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    opened = context.new_page()
    opened.goto(file.as_uri())
    assert opened.locator("#digits-fewshot table").first.is_visible()
    assert opened.locator("#digits-fewshot figure svg").first.is_visible()
    assert not opened.locator(".filters").is_visible()
    opened.locator("#digits-fewshot summary").click()
    assert "digits-fewshot.md" in opened.locator("#digits-fewshot details").inner_text()
    context.close()


@pytest.mark.skipif(not AXE.is_file(), reason="axe-core is not here (make axe fetches it)")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser: Any, file: Path, scheme: str) -> None:
    context = browser.new_context(bypass_csp=True, color_scheme=scheme, viewport={"width": 1200, "height": 900})
    opened = context.new_page()
    opened.goto(file.as_uri())
    opened.add_script_tag(path=str(AXE))
    found = []
    for opening in (False, True):
        if opening:
            opened.locator("[data-cell]").first.click()
            opened.locator("dialog[open]").wait_for()
        else:
            opened.locator("#digits-fewshot summary").click()
            opened.locator("#digits-fewshot details table").first.wait_for()
        found += opened.evaluate("async () => (await axe.run()).violations")
    serious = [(v["id"], v["nodes"][0]["html"][:120]) for v in found if v["impact"] in ("serious", "critical")]
    context.close()
    assert serious == []


def test_a_served_board_renews_itself(browser: Any, index: Index, tmp_path: Path) -> None:
    home = folder_with(tmp_path, real("scratch"))
    with server(Board(home, index), "127.0.0.1", 0) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        opened = browser.new_page()
        told: list[str] = []
        opened.on("console", lambda message: told.append(message.text))
        with opened.expect_response("**/version"):
            opened.goto(f"http://127.0.0.1:{found.server_address[1]}/")
        Store(home).put(real("jacobian"))
        opened.locator("tr[data-row=jacobian]").first.wait_for(timeout=20_000)
        assert told == []
        opened.close()
        found.shutdown()
