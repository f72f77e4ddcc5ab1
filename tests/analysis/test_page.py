"""report.html in a real browser: filters, sorting, cells, hostile texts, a phone; no network."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sympo.analysis import Collection, ReportSettings, report, write_report
from tests.analysis.synthetic import write_policy_sweep, write_run, write_sweep
from tests.analysis.synthetic_judged import judge_run

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
OPTIONS: dict[str, Any] = {
    "executable_path": CHROMIUM,
    "args": ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
}
HOSTILE = [
    "<script>window.ran = 1</script></script><img src=x onerror='window.ran = 2'>",
    "{{parts}} {{script}} ${window.ran = 3} \u202eevil\u202c \x00 \u2028 <!-- ]]>",
    "x" * 3000,
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(**OPTIONS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def rewards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two data sets of reward models, one cell missing and one failed, and a comparison."""
    folder = tmp_path_factory.mktemp("rewards")
    losses = {"ramp": None, "logistic": None, "cdpo": "true"}
    write_sweep(folder / "runs", losses, [0.1, 0.3], [0, 1, 2], missing=[("ramp", 0.3, 2)])
    write_run(folder / "runs", loss="ramp", dataset="mnist")
    failed = write_run(folder / "runs", loss="ramp", noise=0.3, seed=2, complete=False)
    (failed / "error.log").write_text("Traceback\nRuntimeError: <b>diverged</b>\n")
    comparison = {"name": "rank", "metric": "test/order_accuracy", "panels": "dataset"}
    settings = ReportSettings.of({"comparisons": [comparison]})
    return write_report(Collection.from_runs(folder / "runs"), folder / "out", settings).page


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Policies with judged samples whose texts would run if they were not escaped."""
    folder = tmp_path_factory.mktemp("policies")
    write_policy_sweep(folder / "runs", {"ramp": None, "logistic": None}, [0.3], [0, 1], gold=False)
    for run in sorted((folder / "runs").glob("*/*/*/noise=*/seed=*")):
        judge_run(run, which=("last",), prompts_of=run.name[:6])
        judged = json.loads(next((run / "judges").glob("*.json")).read_text())
        ids = [item["id"] for item in judged["samples"]["last"]["items"]]
        lines = [
            {"id": name, "policy": text, "reference": "a reference",
             "prompt": [{"role": "user", "content": "earlier"}, {"role": "user", "content": text}]}
            for name, text in zip(ids, HOSTILE, strict=False)
        ]  # fmt: skip
        (run / "samples").mkdir(exist_ok=True)
        (run / "samples" / "last.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    with pytest.MonkeyPatch.context() as patched:  # twenty PNGs and PDFs, which no test here reads
        patched.setattr(report, "save_figure", lambda figure, path: [path.with_suffix(".png")])
        return write_report(Collection.from_runs(folder / "runs"), folder / "out").page


@pytest.fixture
def open_page(browser: Any) -> Iterator[Any]:
    """Opens a page; whatever it logs, raises or requests fails the test."""
    contexts: list[Any] = []
    odd: list[str] = []

    def opened(source: Path, **options: Any) -> Any:
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: odd.append(message.text))
        page.on("pageerror", lambda error: odd.append(str(error)))
        own = ("file:", "blob:", "data:")
        page.on("request", lambda one: one.url.startswith(own) or odd.append(one.url))
        page.goto(source.as_uri())
        page.wait_for_selector("body[data-ready]")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert odd == []


def column(page: Any, name: str) -> list[str]:
    """The first table's cells of a column, without baselines."""
    titles: list[str] = page.locator("#tables .table:first-child thead th").evaluate_all(
        "all => all.map(one => one.dataset.column)"
    )
    rows = page.locator("#tables .table:first-child tbody tr:not(.beside)")
    place = titles.index(name)
    found: list[str] = rows.evaluate_all(f"all => all.map(one => one.cells[{place}].innerText)")
    return found


def test_top_counts_cells_and_shows_how_they_failed(rewards, open_page):
    page = open_page(rewards)
    assert page.locator("h1").inner_text().startswith("digits, mnist: reward model")
    assert page.locator("#counts").inner_text().split("\n") == [
        "18 complete", "1 failed", "0 unfinished", "1 missing"
    ]  # fmt: skip
    assert "highest" in page.locator("#outcome").inner_text()
    page.click("#failures > summary")
    page.click("#failures details summary")
    assert "<b>diverged</b>" in page.locator("#failures pre").inner_text()


def test_leaderboards_sort_and_filter(rewards, open_page):
    page = open_page(rewards)
    tables = page.locator("#tables .table")
    assert tables.count() == 3
    means = [float(text) for text in column(page, "mean")]
    assert means == sorted(means, reverse=True) and len(means) == 3
    assert column(page, "rank") == ["1", "2", "3"]
    page.click("#tables .table:first-child [data-column=mean] button")
    page.click("#tables .table:first-child [data-column=mean] button")
    assert [float(text) for text in column(page, "mean")] == sorted(means)
    page.select_option("#filters label:has-text('dataset') select", label="mnist")
    assert tables.count() == 1 and "one seed only" in tables.inner_text()
    page.select_option("#filters label:has-text('dataset') select", label="digits")
    page.click("#filters fieldset:has-text('Noise') button:has-text('0.1')")
    assert tables.count() == 1 and "noise 0.3" in tables.inner_text()
    page.click("#filters fieldset:has-text('Losses') button:has-text('cdpo')")
    assert sorted(column(page, "name")) == ["logistic", "ramp"]


def test_seeds_and_baseline_change_means_and_differences(rewards, open_page):
    page = open_page(rewards)
    page.select_option("#filters label:has-text('dataset') select", label="digits")
    page.select_option("#filters label:has-text('Compare') select", label="ramp")
    before = dict(zip(column(page, "name"), column(page, "d"), strict=True))
    assert before["ramp"] == "–" and before["logistic"].count("to") == 1
    page.click("#filters fieldset:has-text('Seeds') button:has-text('2')")
    # not wait_for_function, whose polling evaluates text, which the page's policy forbids
    page.locator("#board-hint", has_text="chosen seeds").wait_for()
    assert set(column(page, "k")) == {"2"}
    assert all("two seeds only" in text for text in column(page, "low"))
    # against the cells themselves
    cells = Collection.read(rewards.parent).cells
    own = cells[(cells["dataset"] == "digits") & (cells["noise"] == 0.1) & (cells["seed"] < 2)]
    means = 100 * own.groupby("loss")["last/test/order_accuracy"].mean()
    shown = dict(zip(column(page, "name"), column(page, "mean"), strict=True))
    assert float(shown["ramp"]) == pytest.approx(means["ramp"], abs=0.051)


def test_headings_explain_themselves_to_the_keyboard(rewards, open_page):
    page = open_page(rewards)
    page.focus("#tables [data-column=low] button")
    assert "two seeds are too few" in page.locator("#tip").inner_text().lower()


def test_a_point_leads_to_its_cells(policies, open_page):
    page = open_page(policies)
    figure = page.locator("#figure-implicit_accuracy_vs_noise")
    figure.scroll_into_view_if_needed()
    panel = figure.locator("svg[tabindex]").first
    panel.focus()
    page.keyboard.press("ArrowRight")
    assert "95% interval" in page.locator("#tip").inner_text()
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open] .cell")
    assert page.locator("dialog .cell").count() == 2
    page.locator("dialog .cell > summary").first.click()
    page.wait_for_selector("dialog .sample")
    inside = page.locator("dialog .cell").first
    assert "policy/hh/" in inside.inner_text() and "over the chosen" in inside.inner_text()
    # what models wrote is text, whatever it says, and long texts fold
    texts = inside.locator(".sample .answers .text").evaluate_all(
        "all => all.map(one => one.textContent)"
    )
    assert texts[::2] == HOSTILE
    assert page.evaluate("window.ran") is None
    assert (
        inside.locator(".folded").count()
        and inside.locator("details:has-text('earlier turn')").count()
    )
    inside.locator(".fold").first.click()
    assert "Show less" in inside.inner_text()
    page.click("#close")
    assert not page.locator("dialog").is_visible()


def test_a_comparison_leads_to_the_cells_of_each_point(rewards, open_page):
    page = open_page(rewards)
    figure = page.locator("#figure-rank")
    figure.scroll_into_view_if_needed()
    figure.locator("svg[tabindex]").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open] .cell")
    assert page.locator("dialog .cell").count() in (2, 3)


def test_downloads_come_from_within_the_page(rewards, open_page, tmp_path):
    alone = tmp_path / "mailed.html"
    shutil.copy(rewards, alone)
    page = open_page(alone)
    for name in ("summary.csv", "summary.tex", "rank.pdf"):
        with page.expect_download() as waited:
            page.locator(f"a[href='{name}']").first.click()
        assert Path(waited.value.path()).read_bytes() == (rewards.parent / name).read_bytes()


@pytest.mark.parametrize("page_of", ["rewards", "policies"])
def test_a_phone_in_the_dark_has_no_sideways_scroll(page_of, request, open_page):
    page = open_page(
        request.getfixturevalue(page_of), viewport={"width": 390, "height": 844},
        color_scheme="dark", has_touch=True,
    )  # fmt: skip
    for figure in page.locator("#figures figure:visible").all():
        figure.scroll_into_view_if_needed()
    page.wait_for_selector("#figures figure:last-child .drawing > *")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.locator("#tables tbody tr button").first.click()
    page.wait_for_selector("dialog[open] .cell")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
