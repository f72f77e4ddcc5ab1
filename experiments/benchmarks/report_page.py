"""Size and speed of report.html for 100,000 cells, in headless Chromium.

    python -m experiments.benchmarks.report_page

Synthetic cells of reward models: 2 data sets, 20 losses, 10 noise rates, 250 seeds, 5 evaluations
each. Measured in the browser: the first paint, the time until filters and leaderboards are there,
and, for each kind of click, the time until the frame after the page has answered; medians over
clicks. Needs playwright and Chromium, no network.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.benchmarks.results import processor, write
from sympo.analysis import Collection, write_report
from sympo.analysis.style import LOSSES

SETS, RATES, EVALUATIONS = ("digits", "mnist"), np.arange(10) / 20, 5
# milliseconds from a click to the frame that shows its answer
_TIMED = """async ([selector, index]) => {
  const frame = () => new Promise(done => requestAnimationFrame(() => setTimeout(done)));
  const begun = performance.now();
  document.querySelectorAll(selector)[index].click();
  await frame();
  return performance.now() - begun;
}"""
CLICKS = {
    "sort by the mean": ("#tables [data-column=mean] button", 0),
    "sort by the difference": ("#tables [data-column=d] button", 0),
    "hide a loss": ("#filters fieldset:last-of-type button", 3),
    "hide a noise rate": ("#filters fieldset:first-of-type button", 2),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", type=int, default=250)
    parser.add_argument("--clicks", type=int, default=7, help="of each kind")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    arguments = parser.parse_args()
    collection = synthetic(arguments.seeds)
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        page = write_report(collection, folder).page
        seconds = time.perf_counter() - begun
        found = {"report with tables and figures": (seconds, "s")}
        found["size of the page"] = page.stat().st_size / 1e6, "MB"
        found |= {name: (ms, "ms") for name, ms in in_browser(page, arguments.clicks).items()}
    rows = [
        {"name": name, "ours": value, "peer": None, "unit": unit, "ratio": None}
        for name, (value, unit) in found.items()
    ]
    out = arguments.out / "report_page.json"
    print(write(out, rows, device=processor(), cells=len(collection.cells)))


def synthetic(seeds: int) -> Collection:
    """Cells whose accuracy falls with the noise, faster for some losses."""
    rng = np.random.default_rng(0)
    names = list(LOSSES)[:20]
    keys = pd.DataFrame(
        list(product(["reward_model"], SETS, names, RATES, ["symmetric"], range(seeds))),
        columns=["job", "dataset", "loss", "noise", "noise_model", "seed"],
    ).assign(oracle=False)
    slope = keys["loss"].map({name: 0.3 + 0.02 * at for at, name in enumerate(names)})
    final = 0.95 - slope * keys["noise"] ** 1.5 + rng.normal(0, 0.01, len(keys))

    def measured(share: float) -> pd.DataFrame:
        accuracy = 0.5 + (final - 0.5) * share
        return pd.DataFrame(
            {
                "test/order_accuracy": accuracy,
                "validation/noisy_accuracy": accuracy - keys["noise"] / 3,
                "train/flipped_memorised": keys["noise"] * share,
            }
        )

    epochs = np.arange(1, EVALUATIONS + 1)
    curves = [
        pd.concat([keys.assign(epoch=epoch), measured(1 - 0.5**epoch)], axis=1) for epoch in epochs
    ]
    last = measured(1 - 0.5**EVALUATIONS).assign(epoch=EVALUATIONS)
    selected = measured(1 - 0.5 ** (EVALUATIONS - 1)).assign(epoch=EVALUATIONS - 1)
    cells = [keys, last.add_prefix("last/"), selected.add_prefix("selected/")]
    incomplete = pd.DataFrame(columns=["job", "dataset", "loss", "noise", "seed", "hash"])
    return Collection(
        pd.concat(cells, axis=1), pd.concat(curves, ignore_index=True), incomplete
    )


def in_browser(page: Path, clicks: int) -> dict[str, float]:
    """Milliseconds of each thing that a reader waits for."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
        )
        opened = browser.new_page(viewport={"width": 1280, "height": 900})
        opened.goto(page.absolute().as_uri())
        opened.wait_for_selector("body[data-ready]")
        found = {
            "first paint": opened.evaluate(
                "performance.getEntriesByName('first-contentful-paint')[0].startTime"
            ),
            "filters and leaderboards": opened.evaluate("Number(document.body.dataset.ready)"),
        }
        for name, (selector, index) in CLICKS.items():
            times = [opened.evaluate(_TIMED, [selector, index]) for _ in range(clicks)]
            found[name] = statistics.median(times)
        # the first choice of seeds unpacks the values of all cells
        found["choose seeds, the first time"] = _seeds(opened, "0-9")
        found["choose seeds"] = statistics.median(_seeds(opened, f"0-{n}") for n in range(20, 25))
        begun = time.perf_counter()
        opened.click("#tables tbody tr")
        opened.wait_for_selector("dialog[open] .cell")
        found["open the cells of a row"] = 1000 * (time.perf_counter() - begun)
        browser.close()
    return found


def _seeds(opened: Any, ranges: str) -> float:
    """Milliseconds until the page has updated to some seeds."""
    opened.evaluate("delete document.body.dataset.updated")
    begun = time.perf_counter()
    opened.fill("#filters input", ranges)
    opened.press("#filters input", "Enter")
    opened.wait_for_selector("body[data-updated]")
    return 1000 * (time.perf_counter() - begun)


if __name__ == "__main__":
    main()
