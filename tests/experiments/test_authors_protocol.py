"""Agreement with the authors' script, on made numbers."""

import json
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from experiments.authors_protocol import (
    AUTHORS,
    FINAL,
    OURS,
    WHOLE,
    agreement,
    draw,
    sentence,
)
from experiments.run_authors import main


def runs(*rows: tuple[str, str, int, float]) -> pd.DataFrame:
    made = [
        line
        for code, loss, seed, accuracy in rows
        for line in (
            (code, loss, seed, 91, accuracy + 0.01, None),
            (code, loss, seed, 100, None, 2 * accuracy),
        )
    ]
    columns = ["code", "loss", "seed", "epoch", "test_reward_correct", "final_reward_correct"]
    return pd.DataFrame(made, columns=columns)


def test_intervals_pool_the_spread_of_seeds() -> None:
    made = runs(
        (AUTHORS, "ramp", 0, 0.70), (AUTHORS, "ramp", 1, 0.72),
        (OURS, "ramp", 0, 0.71), (OURS, "ramp", 1, 0.73),
        (AUTHORS, "logistic", 0, 0.60), (AUTHORS, "logistic", 1, 0.62),
        (OURS, "logistic", 0, 0.80), (OURS, "logistic", 1, 0.82),
    )  # fmt: skip
    found = agreement(made).set_index(["metric", "loss"])
    ramp = found.loc[(FINAL, "ramp")]
    assert ramp["authors_mean"] == pytest.approx(0.71) and ramp["difference"] == pytest.approx(0.01)
    # four groups of variance 2e-4, so 4 degrees of freedom, t = 2.776; 2e-4 (1/2 + 1/2)
    assert ramp["high"] - ramp["difference"] == pytest.approx(2.7764 * 2e-4**0.5, rel=1e-4)
    assert found.loc[(FINAL, "logistic"), "outcome"] == "differ"
    every = found.loc[(WHOLE, "all losses")]
    assert every["difference"] == pytest.approx(0.105)
    assert every["high"] - every["low"] == pytest.approx(2 * 2.7764 * (2e-4 / 2) ** 0.5, rel=1e-4)
    assert ramp["outcome"] == "agree" and (agreement(made)["seeds"] == 2).all()


def test_sentences_and_figure() -> None:
    made = runs((AUTHORS, "ramp", 0, 0.7), (OURS, "ramp", 0, 0.72))
    found = agreement(made)
    one = sentence(next(found.itertuples()))
    assert one == (
        "ramp, final_reward_correct / 2: authors 70.0%, ours 72.0%; one seed has no spread to "
        "compare with"
    )
    figure = draw(made, found, 0.4)
    marks = [line for ax in figure.axes for line in ax.get_lines()]
    assert {line.get_markerfacecolor() for line in marks} >= {"white"}
    assert sorted(float(y) for line in marks for y in line.get_ydata() if y == y) == pytest.approx(
        [70, 71, 72, 73]
    )


def test_their_script_runs_unchanged_with_recorded_logs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts = tmp_path / "peer" / "mnistpref"
    scripts.mkdir(parents=True)
    (scripts / "train.py").write_text(
        "import jax, sys, torch, wandb\n"
        "from jax import numpy\n"
        'assert torch.device("cuda").type in ("cpu", "cuda")\n'
        'assert open("data/MNIST/raw/train-labels-idx1-ubyte", "rb").read() == b"labels"\n'
        'wandb.log({"settings": len(sys.argv) - 1})\n'
        'wandb.log({"reward": wandb.Table(data=[], columns=[])})\n'
        'wandb.log({"final_reward_correct": 1.5})\n'
    )
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / "train-labels-idx1-ubyte").write_bytes(b"labels")
    monkeypatch.chdir(tmp_path)
    modules = SimpleNamespace(argv=["x"])
    monkeypatch.setattr("sys.argv", modules.argv)
    monkeypatch.setattr("sys.path", list(__import__("sys").path))
    for name in ("wandb", "jax", "jax.numpy"):
        monkeypatch.setitem(__import__("sys").modules, name, SimpleNamespace())
    main(tmp_path / "peer", tmp_path, tmp_path / "record.json", ["seed=0", "lr=1"])
    assert json.loads((tmp_path / "record.json").read_text()) == [
        {"settings": 2.0}, {"final_reward_correct": 1.5},
    ]  # fmt: skip
