"""Hydra's joblib launcher gives the cells of the default launcher."""

from pathlib import Path

import pytest

from tests.helpers.commands import SMALL_IMAGES, run

SWEEP = ["loss=ramp,logistic", "noise=0,0.4", *SMALL_IMAGES, "threads=1", "device=cpu"]


@pytest.mark.slow
def test_joblib_gives_the_same_cells(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    tables = []
    for launcher in ("batched", "joblib"):
        settings = ["hydra.launcher.n_jobs=2"] if launcher == "joblib" else []
        code, _, err = run(
            tmp_path / launcher, "-m", f"hydra/launcher={launcher}", *settings, *SWEEP
        )
        assert code == 0, err
        tables.append((tmp_path / launcher / "latest" / "cells.csv").read_text())
    assert tables[0] == tables[1]
    assert len(tables[0].splitlines()) == 5
