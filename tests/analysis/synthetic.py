"""Run folders as a sweep leaves them, with curves that look like learning under noise."""

import json
import zlib
from collections.abc import Collection
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

ROBUST = {"sigmoid", "ramp", "unhinged"}


def write_run(
    runs: Path,
    *,
    loss: str = "logistic",
    noise: float = 0.1,
    seed: int = 0,
    accuracy: float | None = None,
    epochs: int = 10,
    assumed_rate: float | None = None,
    complete: bool = True,
    job: str = "reward_model",
    dataset: str = "digits",
    noise_model: str = "symmetric",
    tag: str = "",
    metrics: dict[str, float | None] | None = None,
    **top_level: Any,
) -> Path:
    """One run folder; `accuracy` fixes the test accuracy of every epoch. `tag` varies the hash."""
    rng = np.random.default_rng([seed, round(noise * 100), len(loss), epochs])
    digest = f"{zlib.crc32(repr((epochs, assumed_rate, tag, noise_model)).encode()):08x}"
    folder = runs / job / dataset / loss / f"noise={noise}" / f"seed={seed}-{digest}"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(f"loss: {loss}\n")
    history = [
        _evaluation(rng, loss, noise, epoch, epochs, accuracy) | (metrics or {})
        for epoch in np.unique(np.linspace(1, epochs, 10).astype(int)).tolist()
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in history))
    if not complete:
        return folder
    rewards = np.sort(rng.normal(size=10) * (1 - noise)) + rng.normal(0, noise, 10)
    last = history[-1] | {f"test/reward_mean/{k}": float(r) for k, r in enumerate(rewards)}
    chosen = max(history, key=lambda row: row["validation/noisy_accuracy"])
    config = {
        "dataset": {"_target_": f"sympo.data.{dataset}", "train_pairs": 2000},
        "loss": {"_target_": f"sympo.losses.{loss}"},
        "noise": noise,
        "noise_model": {"_target_": f"sympo.noise.{noise_model}", "rate": noise},
        "model": {"_target_": "sympo.models.cnn", "channels": [6, 16]},
        "job": {"epochs": epochs},
        "seed": seed,
    } | top_level
    if assumed_rate is not None:
        config["loss"]["assumed_rate"] = assumed_rate
    summary = {
        "job": job,
        "dataset": dataset,
        "loss": loss,
        "noise": noise,
        "noise_model": noise_model,
        "model": "small_cnn",
        "seed": seed,
        "hash": digest,
        "config": config,
        "epochs": epochs,
        "last": last,
        "selected": chosen | {name: last[name] for name in last if "reward_mean" in name},
        "versions": {"torch": "2.6"},
        "device": "cpu",
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def write_sweep(
    runs: Path,
    losses: dict[str, Any],
    rates: list[float],
    seeds: list[int],
    missing: Collection[tuple[str, float, int]] = (),
    **settings: Any,
) -> None:
    """A grid of runs without the missing ones; losses: name -> assumed rate, "true" or None."""
    absent = set(missing)
    for loss, rate, seed in product(losses, rates, seeds):
        if (loss, rate, seed) not in absent:
            assumed = rate if losses[loss] == "true" else losses[loss]
            write_run(runs, loss=loss, noise=rate, seed=seed, assumed_rate=assumed, **settings)


def _evaluation(
    rng: np.random.Generator,
    loss: str,
    noise: float,
    epoch: int,
    epochs: int,
    accuracy: float | None,
) -> dict[str, Any]:
    progress = epoch / epochs
    fall = (0.06 if loss in ROBUST else 0.16 + 0.005 * len(loss)) * noise / 0.4
    curve = 0.9 - 0.3 * noise - 0.25 * np.exp(-9 * progress) - fall * progress**1.5
    measured = float(curve + rng.normal(0, 0.006)) if accuracy is None else accuracy
    memorised = (0.25 if loss in ROBUST else 0.8) * progress + rng.normal(0, 0.02)
    return {
        "epoch": epoch,
        "train/loss": float(0.7 - 0.3 * progress),
        "test/order_accuracy": measured,
        "test/order_accuracy_se": 0.007,
        "test/tie_rate": 0.0,
        "validation/noisy_accuracy": float(curve * (1 - noise) + rng.normal(0, 0.005)),
        "train/flipped_memorised": float(max(memorised, 0.0)) if noise else None,
    }
