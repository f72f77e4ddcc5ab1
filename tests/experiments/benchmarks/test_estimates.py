from pathlib import Path

import pandas as pd
import pytest

from experiments.benchmarks.estimates import COLUMNS, keep, seconds_in_all
from sympo.pipelines.progress import duration


@pytest.mark.parametrize("seconds", [4.1, 99.0, 180.0, 7500.0])
def test_a_printed_estimate_is_read_back(seconds: float) -> None:
    printed = f"  about 1.0 s per cell\nabout {duration(seconds)} in all with 2 processes, peak\n"
    assert seconds_in_all(printed) == pytest.approx(seconds)


def test_a_row_takes_the_place_of_an_older_one(tmp_path: Path) -> None:
    def row(sweep: str, seconds: str) -> dict[str, str]:
        return dict.fromkeys(COLUMNS, "1") | {"sweep": sweep, "seconds": seconds}

    file = tmp_path / "new" / "estimates.csv"
    for one in (row("embedded language policies", "5"), row("digits reward models", "7"),
                row("embedded language policies", "6")):  # fmt: skip
        keep(one, file)
    found = pd.read_csv(file)
    assert found["sweep"].tolist() == ["digits reward models", "embedded language policies"]
    assert found["seconds"].tolist() == [7, 6]
