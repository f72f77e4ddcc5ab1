"""Packed outcomes and their test sets: from run folders, and as CSVs beside cells.csv."""

import base64
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from sympo.analysis.csv import write_csv
from sympo.analysis.intervals import Outcomes
from sympo.outcomes import TestSet, set_digest
from sympo.runs.folder import file_of_test_set
from sympo.types import BadInput

log = logging.getLogger(__name__)

OUTCOMES = "outcomes."  # prefix of the columns of outcomes in summaries


def sets_of(packed: Mapping[str, pa.ChunkedArray], folders: Sequence[str]) -> dict[str, TestSet]:
    """The test sets of outcomes in run folders; unreadable ones are logged.

    packed: by metric, a text for each folder.
    """
    found: dict[str, TestSet | None] = {}
    for column in packed.values():
        # format, colon and digest, of which there are few different ones
        heads = pc.dictionary_encode(pc.utf8_slice_codeunits(column, 0, 18)).combine_chunks()
        places = pd.Series(heads.indices.to_numpy(zero_copy_only=False)).drop_duplicates().dropna()
        for first in places.index:
            try:
                digest = set_digest(column[first].as_py())
                if digest not in found:
                    found[digest] = None
                    file = file_of_test_set(folders[first], digest)
                    found[digest] = TestSet.load(file.read_bytes())
            except (OSError, ValueError) as error:
                log.warning(
                    "%s: no intervals over its test items (%s)",
                    folders[first],
                    " ".join(str(error).split()),
                )
    return {digest: made for digest, made in found.items() if made is not None}


def write_outcomes(outcomes: Outcomes, out: Path) -> list[Path]:
    """Write outcomes.csv (cell, its row in cells.csv from 0; metric; outcomes) and test_sets.csv
    (digest, content as base64), if there are outcomes."""
    if not outcomes.packed:
        return []
    parts = []
    for metric, column in outcomes.packed.items():
        text = column.cast(pa.string()).combine_chunks()
        cells = pa.array(range(len(text)), pa.int64())
        table = pa.table({"cell": cells, "outcomes": text}).filter(pc.is_valid(text))
        parts.append(table.add_column(1, "metric", pa.array([metric] * len(table), pa.string())))
    write_csv(pa.concat_tables(parts).to_pandas(), out / "outcomes.csv")
    sets = {
        digest: base64.b64encode(test_set.dump()).decode()
        for digest, test_set in sorted(outcomes.test_sets.items())
    }
    frame = pd.DataFrame({"digest": list(sets), "content": list(sets.values())}, dtype=str)
    write_csv(frame, out / "test_sets.csv")
    return [out / "outcomes.csv", out / "test_sets.csv"]


def read_outcomes(out: Path, cells: int) -> Outcomes:
    """Read what `write_outcomes` wrote, nothing for collections without outcomes; raises BadInput
    if one of the two files is missing or damaged."""
    if not (out / "outcomes.csv").is_file():
        return Outcomes()
    try:
        return _read(out, cells)
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise BadInput(
            f"{out / 'outcomes.csv'} and test_sets.csv cannot be read together "
            f"({' '.join(str(error).split())}); without outcomes.csv the intervals are over seeds"
        ) from error


def _read(out: Path, cells: int) -> Outcomes:
    frame = pd.read_csv(out / "outcomes.csv", dtype={"metric": str, "outcomes": str})
    packed = {
        str(metric): pa.chunked_array([_by_cell(rows, cells)])
        for metric, rows in frame.groupby("metric", sort=False)
    }
    sets = pd.read_csv(out / "test_sets.csv", dtype=str)
    return Outcomes(
        packed,
        {
            digest: TestSet.load(base64.b64decode(content))
            for digest, content in zip(sets["digest"], sets["content"], strict=True)
        },
    )


def _by_cell(rows: pd.DataFrame, cells: int) -> pa.Array:
    texts = np.full(cells, None, dtype=object)
    texts[rows["cell"].to_numpy()] = rows["outcomes"].to_numpy()
    return pa.array(texts, pa.string())
