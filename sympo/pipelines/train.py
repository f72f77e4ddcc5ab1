"""Training from Python, with the trainers, stages and records that a sweep uses."""

import operator
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sympo.disk import check_folder
from sympo.identity import as_config, stable_name
from sympo.losses import named
from sympo.models.images.cnn import CNN
from sympo.models.texts.tfidf import Tfidf
from sympo.noise import Symmetric
from sympo.pipelines.cell import assemble
from sympo.pipelines.cell_run import CellRun
from sympo.pipelines.image_reward_model import RewardModelJob
from sympo.pipelines.policy import PolicyJob
from sympo.pipelines.progress import Screen, Silent, Terminal
from sympo.pipelines.runner import run_all
from sympo.pipelines.text_reward_model import TextRewardModelJob
from sympo.protocols.cleaning import Filter
from sympo.protocols.data import NoiseModel
from sympo.protocols.jobs import Job, TrainedScorer
from sympo.protocols.models import Loss, Sampler
from sympo.ranges import Count, Rate, Seed, refusal
from sympo.sampling import Transformers
from sympo.types import BadArgument

# the smallest image side, in pixels, for the paper's network
SMALLEST_FOR_PAPERS_CNN = 28


class TrainingFailed(RuntimeError):
    """Training a cell failed; the message ends with the traceback."""


@dataclass(frozen=True)
class Trained:
    """A trained reward model or policy, and its evaluations.

    metrics: of the last epoch; selected: of the epoch selected by noisy validation; history: of
        every evaluation. Keys are the names in run folders and tables, and `epoch`.
    folder: the run folder, None if nothing was kept.
    scorer: the trained model; None if the cell was already complete in `results_dir`.
    """

    metrics: dict[str, float | None]
    selected: dict[str, float | None]
    history: list[dict[str, float | None]]
    folder: Path | None
    scorer: TrainedScorer | None

    @property
    def model(self) -> Any:
        """The trained network, a `torch.nn.Module`."""
        return self._scorer.model

    def rewards(self, split: str) -> np.ndarray:
        """Rewards of both items of every pair of a split, `train`, `validation` or `test`; implicit
        rewards for a policy. (n, 2) float, the first item first."""
        return self._scorer.rewards(split)

    @property
    def _scorer(self) -> TrainedScorer:
        if self.scorer is None:
            raise ValueError(
                f"{self.folder} was complete already, so nothing was trained: force=True trains it "
                "again"
            )
        return self.scorer


def train_reward_model(
    dataset: Any,
    loss: str | Loss | type = "ramp",
    noise: float = 0.0,
    *,
    seed: int = 0,
    model: Any = None,
    noise_model: NoiseModel | None = None,
    filter: Filter | None = None,
    results_dir: str | Path | None = None,
    device: str = "auto",
    threads: int | None = None,
    force: bool = False,
    progress: bool = False,
    **settings: Any,
) -> Trained:
    """Train a reward model on pairs with flipped labels, and evaluate it on clean ones.

    dataset: of images, such as `Digits()`, or of texts, such as `PreferenceSet(path=...)` or
        `TextPairs(rows)`. loss: a name ("ramp", "logistic", ...) or a `MarginLoss`. noise: the rate
        of flips, in [0, 0.5). seed: of every draw.
    model: None takes the paper's network for images, with 3x3 kernels for small ones, and tf-idf
        for texts. noise_model: None flips every pair at the same rate. filter: cleans the training
        pairs first, such as `Ensemble()`; None trains on all of them.
    results_dir: keeps the run, in the folder of a sweep's cell, and trains it only once; None keeps
        nothing. force: train a kept run again.
    device: "auto", "cpu", "cuda" or "cuda:N". threads: None leaves PyTorch's. progress: show it.
    settings: of `RewardModelJob` for images and `TextRewardModelJob` for texts, such as
        `epochs=10`.

    Raises BadInput, before any work, if it cannot run, and TrainingFailed if training fails.

        found = sympo.train_reward_model(sympo.Digits(), loss="ramp", noise=0.3, epochs=2)
        print(found.metrics["test/order_accuracy"], found.rewards("test")[0])
    """
    _check_dataset(dataset)
    job: Job
    if dataset.holds == "images":
        job = RewardModelJob(**settings)
        model = model or _network_for(dataset)
    else:
        job = TextRewardModelJob(**settings)
        model = model or Tfidf()
    parts = {
        "job": job,
        "dataset": dataset,
        "model": model,
        "sampler": Transformers(),
        "filter": filter,
    }
    return _train(
        "reward_model", parts, loss, noise, seed, noise_model, results_dir, device, threads, force,
        progress,
    )  # fmt: skip


def train_policy(
    dataset: Any,
    loss: str | Loss | type = "ramp",
    noise: float = 0.0,
    *,
    model: Any,
    seed: int = 0,
    noise_model: NoiseModel | None = None,
    filter: Filter | None = None,
    sampler: Sampler | None = None,
    results_dir: str | Path | None = None,
    device: str = "auto",
    threads: int | None = None,
    force: bool = False,
    progress: bool = False,
    **settings: Any,
) -> Trained:
    """Fine-tune a language model on chosen responses, train it on noisy preferences, and compare
    its responses with the reference's.

    model: `TinyLM(...)` or `Hub(name_or_path=...)`. sampler: of responses; None takes
        `transformers`. settings: of `PolicyJob`, such as `margin=DPO(beta=0.1)` or `epochs=1`.
        Other arguments are those of `train_reward_model`.

    Raises BadInput, before any work, if it cannot run, and TrainingFailed if training fails.

        found = sympo.train_policy(
            sympo.GoldLanguage(train_pairs=64, validation_pairs=32, test_pairs=32), "ramp",
            noise=0.3, model=sympo.TinyLM(), learning_rate=1e-3, warmup_steps=0,
            sft=sympo.FineTuning(learning_rate=3e-3, warmup_steps=20),
            sampling=sympo.Sampling(prompts=16, max_new_tokens=20),
        )
        print(found.metrics["policy/win_rate"])
    """
    _check_dataset(dataset)
    parts = {
        "job": PolicyJob(**settings),
        "dataset": dataset,
        "model": model,
        "sampler": sampler or Transformers(),
        "filter": filter,
    }
    return _train(
        "policy", parts, loss, noise, seed, noise_model, results_dir, device, threads, force,
        progress,
    )  # fmt: skip


def _check_dataset(dataset: Any) -> None:
    if not any("holds" in vars(kind) for kind in type(dataset).__mro__):
        raise BadArgument(
            "dataset", repr(dataset), "is not a data set: give an object such as sympo.Digits()"
        )


def _check_numbers(seed: Any, noise: Any, threads: Any) -> None:
    allowed = (("seed", seed, Seed), ("noise", noise, Rate), ("threads", threads, Count | None))
    for key, value, hint in allowed:
        if words := refusal(value, hint):
            raise BadArgument(key, repr(value), f"is not allowed: it must {words}")


def _network_for(dataset: Any) -> CNN:
    small = min(dataset.images.pixels.shape[1:]) < SMALLEST_FOR_PAPERS_CNN
    return CNN(kernel_size=3, padding=1) if small else CNN()


def _train(
    job: str,
    parts: dict[str, Any],
    loss: str | Loss | type,
    noise: float,
    seed: int,
    noise_model: NoiseModel | None,
    results_dir: str | Path | None,
    device: str,
    threads: int | None,
    force: bool,
    progress: bool,
) -> Trained:
    _check_numbers(seed, noise, threads)
    seed = operator.index(seed)
    if results_dir is not None:
        check_folder("results_dir", results_dir)
    parts["loss"] = named.resolved(loss, {})
    parts["noise_model"] = noise_model or Symmetric()
    given = {key: part for key, part in parts.items() if part is not None}
    for key, part in given.items():
        if isinstance(part, type | str):
            raise BadArgument(
                key, repr(part), "is not allowed: it must be an object, such as CNN()"
            )
    with _folder(results_dir) as root:
        config = {
            "noise": float(noise),
            "seed": seed,
            "device": str(device),
            "threads": threads or torch.get_num_threads(),
            "results_dir": str(root),
            "figures": False,
            "force": force,
            "deterministic": False,
            "distributed": "none",
            "wandb": {"mode": "disabled", "project": "sympo", "entity": None, "group": None},
            "progress": {"cell": 1, "cells": 1, "started": time.time() if force else None},
            "filter": None,
            **{key: as_config(part) for key, part in given.items()},
        }
        options = {key: stable_name(type(part)) for key, part in given.items()} | {"job": job}
        screen: Screen = Terminal(sys.stdout) if progress else Silent()
        cell = assemble(config, options, parts, {**config, **parts})
        run = CellRun(cell, screen, 0, keeps_scorer=True)
        before = torch.get_num_threads()
        try:
            (result,) = run_all([run], wait=True)
        finally:
            torch.set_num_threads(before)
        if result.status == "failed":
            log = result.log.read_text() if result.log else ""
            raise TrainingFailed(f"{result.error}\n{log}".rstrip())
        summary = run.folder.summary()
        history = run.folder.history()
    folder = None if results_dir is None else run.folder.path
    return Trained(summary["last"], summary["selected"], history, folder, run.scorer)


@contextmanager
def _folder(results_dir: str | Path | None) -> Iterator[Path]:
    if results_dir is not None:
        yield Path(results_dir)
        return
    with tempfile.TemporaryDirectory(prefix="sympo-") as folder:
        yield Path(folder)
