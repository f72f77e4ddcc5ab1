"""The committed memory of divided policies is what is counted, and its page says the same."""

from pathlib import Path

import pandas as pd
import pytest

from experiments.benchmarks.llama_flops import SHAPES
from experiments.benchmarks.sharded_memory import LARGE, MEASURED, SMALL, counted

PARTS = ["parameters", "gradients", "moments"]


@pytest.fixture(scope="module")
def rows(root: Path) -> pd.DataFrame:
    table = pd.read_csv(root / "results/benchmarks/sharded_memory.csv")
    return table.set_index(["model", "how", "processes"]).sort_index()


def test_the_count_is_that_of_today(rows: pd.DataFrame) -> None:
    for name, shape, processes in ((LARGE, SHAPES[LARGE], 8), ("30 M weights", SMALL, 2)):
        row = rows.loc[(name, "counted", processes)]
        for key, value in counted(name, shape, processes).items():
            assert key in rows.index.names or row[key] == value, key


def test_what_was_measured_is_what_was_counted(rows: pd.DataFrame) -> None:
    for processes in MEASURED:
        expected, found = (
            rows.loc[("30 M weights", how, processes)] for how in ("counted", "measured")
        )
        for part in PARTS:
            assert found[part] == expected[part]
        assert found["largest_tensor"] <= expected["largest_tensor_allowed"]


def test_the_page_has_these_numbers(root: Path, rows: pd.DataFrame) -> None:
    page = (root / "docs/distributed_memory.md").read_text()
    for processes, row in rows.loc[(LARGE, "counted")].iterrows():
        keys = [*PARTS, "states", "largest_tensor_allowed"]
        assert line(processes, (row[key] / 1e9 for key in keys)) in page
    for (how, processes), row in rows.loc["30 M weights"].iterrows():
        start = line(f"{processes}, {how}", (row[key] / 1e6 for key in PARTS))
        end = (
            f" at most {row['largest_tensor_allowed'] / 1e6:.2f} | |"
            if how == "counted"
            else f" {row['largest_tensor'] / 1e6:.2f} | {row['most_at_a_time'] / 1e6:.2f} |"
        )
        assert start + end in page


def line(first: object, numbers: object) -> str:
    return " | ".join([f"| {first}", *(f"{one:.2f}" for one in numbers)]) + " |"
