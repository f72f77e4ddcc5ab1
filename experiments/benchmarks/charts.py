"""A chart for each table in results/benchmarks: our numbers relative to the peer and the limit.

    python -m experiments.benchmarks.charts [FOLDER]

Each benchmark draws its own chart; this redraws all of them from the JSON files.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from sympo.analysis import save_figure

OURS, PEER, LIMIT = "#0072B2", "#999999", "#D55E00"
Row = Mapping[str, Any]


def draw(file: Path) -> Path:
    """Draw the chart of one table as PNG and PDF beside it; returns the PNG."""
    table = json.loads(file.read_text())
    rows, device = table["rows"], table["device"]
    figure = (_growth if "cells" in rows[0] else _ratios)(rows)
    source = f"{file.stem}.json: {device}, commit {str(table['git_commit'])[:7]}"
    figure.supxlabel(source, fontsize=8, color="#444444", x=0.01, ha="left")
    return save_figure(figure, file.with_suffix(""))[0]


def _ratios(rows: Sequence[Row]) -> Figure:
    """Bars: our number as a multiple of the peer's, or of the limit if there is no peer."""
    shown = [row for row in rows if row["ratio"] or row.get("limit")]
    figure = Figure(figsize=(9, 1.3 + 0.62 * len(shown)), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(shown):
        ratio, middle = row["ratio"] or row["ours"] / row["limit"], place + 0.1
        axes.barh(middle, ratio, color=OURS, height=0.35)
        if row["ratio"] and row.get("limit"):
            limit = row["limit"] / row["peer"]
            axes.plot([limit, limit], [middle - 0.25, middle + 0.25], color=LIMIT, linewidth=2)
        if "ratio_lowest" in row:
            ends = [[ratio - row["ratio_lowest"]], [row["ratio_highest"] - ratio]]
            axes.errorbar(ratio, middle, xerr=ends, color="black", capsize=3, linewidth=1)
        axes.text(0, place - 0.25, f" {_numbers(row)}", fontsize=8, va="center")
    axes.axvline(1, color=PEER, linewidth=1.5, linestyle=(0, (5, 2)))
    axes.set_yticks(range(len(shown)), [str(row["name"]) for row in shown])
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    limits = "; orange: the limit" if any(row.get("limit") for row in shown) else ""
    axes.set_xlabel(f"times as good as the peer (broken line){limits}")
    axes.spines[["top", "right"]].set_visible(False)
    figure.set_label("Ours against the peer and the limit")
    return figure


def _numbers(row: Row) -> str:
    text = f"ours {row['ours']:.4g}"
    if row.get("peer"):
        text += f", {row.get('peer_is', 'peer')} {row['peer']:.4g}"
    if row.get("limit"):
        text += f", limit {row['limit']:.4g}"
    return f"{text} {row['unit']}"


def _growth(rows: Sequence[Row]) -> Figure:
    """Lines: speed and memory against the number of cells trained together."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    speed, memory = figure.subplots(1, 2)
    engines = dict.fromkeys(row["engine"] for row in rows)
    for engine, line in zip(engines, ("-", "--"), strict=False):
        own = [row for row in rows if row["engine"] == engine]
        cells = [row["cells"] for row in own]
        for axes, key in ((speed, "ours"), (memory, "mib")):
            values = [row[key] for row in own]
            axes.plot(cells, values, color=OURS, marker="o", linestyle=line, label=engine)
    limit = sorted(row["limit"] for row in rows)[len(rows) // 2]
    speed.axhline(limit, color=LIMIT, label="multiply-adds alone")
    speed.set_ylabel("epochs of cells per second")
    memory.set_ylabel("peak memory (MiB)")
    for axes in (speed, memory):
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlabel("cells trained together")
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
    speed.legend(frameon=False, loc="center left", bbox_to_anchor=(0.0, 0.75))
    figure.set_label("Speed and memory against the number of cells trained together")
    return figure


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "results/benchmarks")
    for file in sorted(folder.glob("*.json")):
        print(draw(file))


if __name__ == "__main__":
    main()
