"""Presets of packaged models end to end, with small models in their place."""

from pathlib import Path

import pytest

from tests.conftest import DATA
from tests.helpers.commands import run

FEW = ["dataset.validation_pairs=8", "dataset.test_pairs=8", "loss=ramp", "seed=0", "threads=1"]
SAMPLING = ["job.sampling.prompts=4", "job.sampling.max_new_tokens=8"]
STORIES = ["model=hub", f"model.name_or_path={DATA / 'stories260K'}"]
HH = f"dataset.path={DATA / 'hh-rlhf'}"


@pytest.mark.parametrize(
    ("preset", "settings", "expected"),
    [
        ("smollm2_hh", ["size=medium", HH, *STORIES, *SAMPLING, "noise=0.4"], 1),
        ("minilm_hh_reward", ["size=medium", HH, "model=tfidf", "noise=0.4"], 1),
        ("two_judges", [f"dataset.path={DATA / 'two_judges'}", "model=tfidf", "noise=0.057"], 3),
    ],
)  # fmt: skip
def test_preset_runs(preset: str, settings: list[str], expected: int, tmp_path: Path) -> None:
    if not DATA.is_dir():
        pytest.skip("the real data is not beside this checkout (../shared/data)")
    few = [f"dataset.train_pairs={64 if preset == 'smollm2_hh' else 256}", *FEW]
    code, out, err = run(tmp_path, "-m", f"experiment={preset}", *settings, *few)
    assert code == 0, err
    assert f"{expected} cell{'s' * (expected > 1)}: {expected} run" in out
    assert len(list(tmp_path.glob("runs/*/*/*/*/*/summary.json"))) == expected
