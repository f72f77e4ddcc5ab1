"""Run folders as a sweep leaves them, with curves that look like learning under noise."""

import json
import zlib
from collections.abc import Collection, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from sympo.outcomes import Scored
from sympo.runs.folder import file_of_test_set

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
    model_name: str = "small_cnn",
    metrics: dict[str, float | None] | None = None,
    history: list[dict[str, Any]] | None = None,
    scores: np.ndarray | None = None,
    at_default: Sequence[str] = (),
    settings: dict[str, Any] | None = None,
    **top_level: Any,
) -> Path:
    """One run folder; `accuracy` fixes the test accuracy of every epoch, `history` everything that
    was measured, `scores` the outcomes of test pairs of its seed. `tag` varies the hash.
    `at_default` names the settings at their default; further arguments, or `settings` for names
    that are arguments too, are settings at the top level."""
    rng = np.random.default_rng([seed, round(noise * 100), len(loss), epochs])
    digest = f"{zlib.crc32(repr((epochs, assumed_rate, tag, noise_model)).encode()):08x}"
    folder = runs / job / dataset / loss / f"noise={noise:g}" / f"seed={seed}-{digest}"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(f"loss: {loss}\n")
    measured = history or [
        _evaluation(rng, loss, noise, epoch, epochs, accuracy) | (metrics or {})
        for epoch in np.unique(np.linspace(1, epochs, 10).astype(int)).tolist()
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in measured))
    if not complete:
        return folder
    rewards = np.sort(rng.normal(size=10) * (1 - noise)) + rng.normal(0, noise, 10)
    items = {f"test/reward_mean/{k}": float(r) for k, r in enumerate(rewards) if not history}
    last = measured[-1] | items
    chosen = max(measured, key=lambda row: row["validation/noisy_accuracy"])
    config = {
        "dataset": {"_identity_": dataset, "train_pairs": 2000},
        "loss": {"_identity_": loss},
        "noise": noise,
        "noise_model": {"_identity_": noise_model, "rate": noise},
        "model": {"_identity_": model_name, "channels": [6, 16]},
        "job": {"epochs": epochs},
        "seed": seed,
    } | (settings or top_level)
    if assumed_rate is not None:
        config["loss"]["assumed_rate"] = assumed_rate
    summary = {
        "job": job,
        "dataset": dataset,
        "loss": loss,
        "noise": noise,
        "noise_model": noise_model,
        "model": model_name,
        "seed": seed,
        "hash": digest,
        "identity": 2,
        "config": config,
        "at_default": list(at_default),
        "epochs": epochs,
        "last": last,
        "selected": chosen | items,
        "versions": {"torch": "2.6"},
        "device": "cpu",
    }
    if scores is not None:
        items = np.arange(len(scores), dtype=np.uint64) + np.uint64(seed << 32)
        scored = Scored(items, items)
        packed = {"test/order_accuracy": scored.pack(scores)}
        summary["outcomes"] = {"last": packed, "selected": packed}
        sets = file_of_test_set(folder, scored.test_set.digest)
        sets.parent.mkdir(exist_ok=True)
        sets.write_bytes(scored.test_set.dump())
        for which in ("last", "selected"):
            summary[which]["test/order_accuracy"] = float(scores.mean())
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def as_format_1(folder: Path, **paths: str) -> None:
    """Rewrite a summary as runs before stable identities had it; paths: part -> Python path,
    otherwise made of the identity."""
    file = folder / "summary.json"
    summary = json.loads(file.read_text())
    del summary["identity"], summary["at_default"]
    for name, part in summary["config"].items():
        if isinstance(part, dict) and "_identity_" in part:
            identity = part.pop("_identity_").title().replace("_", "")
            part["_target_"] = paths.get(name, f"sympo.{name}.{identity}")
    file.write_text(json.dumps(summary))


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


def write_policy_sweep(
    runs: Path,
    losses: dict[str, Any],
    rates: list[float],
    seeds: list[int],
    gold: bool = True,
    panel: bool = False,
    missing: Collection[tuple[str, float, int]] = (),
    **settings: Any,
) -> None:
    """A grid of policies; gold: whether the data set has a gold reward to judge samples by.

    panel: as in `policy_history`."""
    absent = set(missing)
    for loss, rate, seed in product(losses, rates, seeds):
        if (loss, rate, seed) in absent:
            continue
        write_run(
            runs,
            job="policy",
            dataset="gold_language" if gold else "hh",
            loss=loss,
            noise=rate,
            seed=seed,
            assumed_rate=rate if losses[loss] == "true" else losses[loss],
            history=policy_history(loss, rate, seed, gold, panel),
            **settings,
        )


def policy_history(
    loss: str, noise: float, seed: int, gold: bool = True, panel: bool = False
) -> list[dict[str, Any]]:
    """What a policy cell measures, at epoch 0, quarters of the first epoch and epochs 1 to 5.

    panel: with log-probabilities and flip detection, which cells of older versions lack."""
    rng = np.random.default_rng([seed, round(noise * 100), zlib.crc32(loss.encode())])
    return [
        _policy_evaluation(rng, loss, noise, epoch, gold, panel)
        for epoch in (0, 0.25, 0.5, 0.75, 1, 2, 3, 4, 5)
    ]


def _along_training(loss: str, noise: float, pull: float) -> dict[str, float | None]:
    fall = 10 * float(pull) * (1 + (loss not in ROBUST))
    return {
        "test/logp_chosen": -60 - fall,
        "test/logp_rejected": -62 - 2 * fall,
        "test/reward_chosen": -0.1 * fall,
        "test/reward_rejected": -0.2 * fall,
        "train/margin_unflipped": 0.1 * fall,
        "train/margin_flipped": -0.1 * fall if noise else None,
        "train/flip_auroc": 0.5 + 0.4 * float(pull) if noise else None,
        "validation/noise_estimate": noise + 0.05,
        "validation/noise_estimate_se": 0.02,
        "policy/entropy": 1.5 - 0.2 * float(pull),
    }


def _policy_evaluation(
    rng: np.random.Generator, loss: str, noise: float, epoch: float, gold: bool, panel: bool
) -> dict[str, Any]:
    spread = (zlib.crc32(loss.encode()) % 97) / 97
    pull = 1 - np.exp(-2.2 * epoch)
    harm = noise * (0.15 + 0.1 * spread) * epoch / 5 * (0.5 if loss in ROBUST else 1.5)
    win = 0.5 + (0.42 - 0.4 * noise) * pull - harm + (rng.normal(0, 0.015) if epoch else 0)
    kl = (8 if loss in ROBUST else 16 + 20 * spread) * (epoch / 5) ** 0.7
    kl = max(float(kl * (1 + rng.normal(0, 0.08))), 0.0)
    accuracy = 0.5 + (0.35 - 0.3 * noise) * pull - harm
    measured = {
        "epoch": epoch,
        "train/loss": 0.7 - 0.05 * epoch,
        "train/noisy_accuracy": float(accuracy * (1 - noise)),
        "train/clean_accuracy": float(accuracy),
        "train/flipped_memorised": float(0.5 + 0.08 * epoch * (loss not in ROBUST))
        if noise
        else None,
        "validation/noisy_accuracy": float(accuracy * (1 - noise) + rng.normal(0, 0.005)),
        "validation/clean_accuracy": float(accuracy),
        "test/implicit_accuracy": float(accuracy + (rng.normal(0, 0.01) if epoch else 0)),
        "test/implicit_accuracy_se": 0.012,
        "test/margin_mean": float(pull),
        **(_along_training(loss, noise, pull) if panel else {}),
        "policy/kl": kl,
        "policy/kl_se": kl / 20,
        "policy/length": 12.0,
        "reference/length": 12.0,
        "policy/truncated": 0.0,
    }
    judged = {
        "policy/win_rate": float(win),
        "policy/win_rate_se": 0.014,
        "policy/win_rate_low": float(win - 0.03),
        "policy/win_rate_high": float(win + 0.026),
        "policy/win_rate_chosen": float(win - 0.1),
        "policy/win_rate_chosen_se": 0.014,
        "policy/win_rate_chosen_low": float(win - 0.13),
        "policy/win_rate_chosen_high": float(win - 0.073),
        "policy/tie_rate": 0.01,
        "policy/gold_reward": float(6 * (win - 0.5)),
        "policy/gold_reward_se": 0.08,
        "reference/gold_reward": 0.0,
    }
    return measured | (judged if gold else {})


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
