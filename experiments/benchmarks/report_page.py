"""Size and speed of report.html for 100,000 cells, in headless Chromium.

    python -m experiments.benchmarks.report_page

Synthetic cells of reward models: 2 data sets, 20 losses, 10 noise rates, 250 seeds, 5 evaluations
each. The peer of each row is the most that is promised. Answers are timed as processor time of the
browser's main thread, from a click until the frame that shows its answer, medians over clicks; the
first paint is by the clock. Needs playwright and Chromium, no network.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.benchmarks.results import processor, write
from sympo.analysis import Collection, write_report
from sympo.analysis.style import LOSSES

SETS, RATES, EVALUATIONS = ("digits", "mnist"), np.arange(10) / 20, 5
PAINT, ANSWER, SIZE = 2000.0, 200.0, 10.0  # ms, ms, MB
# clicks, and waits for the frame that shows the answer
_CLICK = """([selector, index]) => new Promise(done => {
  document.querySelectorAll(selector)[index].click();
  requestAnimationFrame(() => setTimeout(done));
})"""
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
        begun = time.process_time()
        page = write_report(collection, folder).page
        seconds = time.process_time() - begun
        rows = [
            row("size of the page", page.stat().st_size / 1e6, "MB", SIZE),
            *in_browser(page, arguments.clicks),
        ]
    out = arguments.out / "report_page.json"
    print(write(out, rows, device=processor(), cells=len(collection.cells), report_seconds=seconds))


def row(name: str, ours: float, unit: str, most: float) -> dict[str, Any]:
    return {"name": name, "ours": ours, "peer": most, "unit": unit, "ratio": most / ours}


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
    return Collection(pd.concat(cells, axis=1), pd.concat(curves, ignore_index=True), incomplete)


def in_browser(page: Path, clicks: int) -> list[dict[str, Any]]:
    """Rows in milliseconds."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
        )
        opened = browser.new_page(viewport={"width": 1280, "height": 900})
        session = opened.context.new_cdp_session(opened)
        session.send("Performance.enable", {"timeDomain": "threadTicks"})

        def busy() -> float:
            """Milliseconds that the main thread has worked."""
            metrics = session.send("Performance.getMetrics")["metrics"]
            return next(1000 * one["value"] for one in metrics if one["name"] == "TaskDuration")

        def answered(act: Callable[[], object]) -> float:
            before = busy()
            act()
            return busy() - before

        opened.goto(page.absolute().as_uri())
        opened.wait_for_selector("body[data-ready]")
        paint = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
        rows = [row("first paint", opened.evaluate(paint), "ms", PAINT)]
        for name, target in CLICKS.items():
            act = partial(opened.evaluate, _CLICK, target)
            times = [answered(act) for _ in range(clicks)]
            rows.append(row(name, statistics.median(times), "ms", ANSWER))
        first, *times = [answered(partial(_seeds, opened, f"0-{n}")) for n in range(20, 25)]
        # the first choice of seeds unpacks the values of all cells
        rows.append(row("choose seeds, the first time", first, "ms", ANSWER))
        rows.append(row("choose seeds", statistics.median(times), "ms", ANSWER))
        browser.close()
    return rows


def _seeds(opened: Any, ranges: str) -> None:
    opened.evaluate("delete document.body.dataset.updated")
    opened.fill("#filters input", ranges)
    opened.press("#filters input", "Enter")
    opened.wait_for_selector("body[data-updated]")


if __name__ == "__main__":
    main()
