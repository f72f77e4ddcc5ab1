"""Reading holds little more than the texts of the rows."""

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sympo.data.preferences import PreferenceSet


@pytest.mark.parametrize(
    ("name", "count", "more"),
    [("a.jsonl", 5000, 0.3), ("a.json", 1500, 3.0), ("a.parquet", 1500, 1.0)],
)
def test_bytes_per_row(tmp_path: Path, name: str, count: int, more: float) -> None:
    """more: peak bytes besides what is held, as a multiple of the texts."""
    draw = np.random.default_rng(0)
    rows = [
        {key: draw.bytes(length // 2).hex() for key, length in zip(
            ("prompt", "chosen", "rejected"), draw.integers(200, 600, 3), strict=True
        )}
        for _ in range(count)
    ]  # fmt: skip
    texts = sum(len(text) for row in rows for text in row.values())
    file = tmp_path / name
    if name.endswith(".jsonl"):
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif name.endswith(".json"):
        file.write_text(json.dumps(rows))
    else:
        pd.DataFrame(rows).to_parquet(file)
    del rows
    data = PreferenceSet(path=str(file))
    tracemalloc.start()
    try:
        data.check()
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(data.released[0]) + len(data.released[1]) == count
    assert held < texts + 1100 * count, (held - texts) / count
    assert peak - held < more * texts, (peak - held) / texts
