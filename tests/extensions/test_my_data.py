"""The data sets and the noise model of docs/extending.md, from file to result."""

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from sympo.noise import flip
from tests.data.made_tokenizers import tokenizer

CONF = Path(__file__).parent / "conf"


def built(group: str, option: str) -> Any:
    """What an option's YAML builds."""
    found = yaml.safe_load((CONF / group / f"{option}.yaml").read_text())
    settings = dict(found.get(group, found))
    module, _, name = settings.pop("_target_").rpartition(".")
    return getattr(import_module(module), name)(**settings)


def test_images_with_real_valued_rewards() -> None:
    shades = built("dataset", "shades")
    shades.check()
    draw = shades.draw(0)
    assert draw.rewards.min() < 0 < draw.rewards.max() and draw.rewards.dtype == np.float64
    assert len(draw.train) == 500 and draw.train.gap is not None
    better = draw.train.gap > 0
    assert ((draw.train.label > 0) == better).mean() > 0.8
    assert len(shades.fingerprint()) == 16


def test_texts() -> None:
    sums = built("dataset", "sums")
    sums.check()
    made = sums.preferences(0, tokenizer("plain"), None)
    assert len(made.test) == 100 and len(made.validation) == 50 and len(made.train) == 250
    assert made.test.texts[0]["chosen"].startswith("It is ")
    start = made.test.chosen.start[0]
    said = sums.text(made.test.chosen.ids[0][start:], tokenizer("plain"))
    assert said == made.test.texts[0]["chosen"]


def test_noise() -> None:
    pairs = built("dataset", "shades").draw(0).train
    noisy = flip(built("noise_model", "careless_annotator"), 0.2, pairs, 0)
    assert abs(noisy.flipped.mean() - 0.2) < 4 * np.sqrt(0.2 * 0.8 / len(pairs))


@pytest.mark.parametrize(
    "options",
    [
        ["dataset=shades", "noise_model=careless_annotator"],
        ["dataset=sums", "model=tfidf"],
    ],
)
def test_one_command(root: Path, tmp_path: Path, options: list[str]) -> None:
    done = subprocess.run(
        [
            sys.executable, "run.py", f"hydra.searchpath=[file://{CONF}]", *options, "noise=0.2",
            "allow_external_targets=true",
            f"results_dir={tmp_path}", "job.epochs=1", "wandb.mode=disabled",
        ],
        cwd=root, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(CONF.parent), str(root)])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    [summary] = tmp_path.rglob("summary.json")
    if "dataset=shades" in options:
        assert '"test/reward_mean/-' in summary.read_text()
