"""The filter of a cell is a setting like the model; a told filter is an oracle."""

from pathlib import Path
from typing import Any

import sympo
from sympo.analysis.collect import Collection
from sympo.cleaning import Ensemble, SmallLoss

DIGITS = sympo.Digits(train_pairs=64, validation_pairs=32, test_pairs=32)


def test_cells_of_filters(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"epochs": 1, "batch_size": 32, "results_dir": tmp_path}
    for noise in (0.2, 0.3):
        told = Ensemble(folds=2, epochs=1, assumed_rate=noise)
        for chosen in (None, told, SmallLoss(epochs=1)):
            sympo.train_reward_model(DIGITS, "ramp", noise, filter=chosen, **settings)
    cells = Collection.from_runs(tmp_path / "runs").cells.sort_values(["noise", "filter"])
    columns = list(cells.columns)
    # its settings follow from the filter, and the rate that it is told from the noise
    assert columns[: columns.index("oracle")][6:] == ["filter"]
    assert cells["filter"].tolist() == ["ensemble", "none", "small_loss"] * 2
    assert cells["oracle"].tolist() == [True, False, False] * 2
