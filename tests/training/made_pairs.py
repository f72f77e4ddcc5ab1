"""Made-up pairs of token ids and tiny models to train on them."""

from typing import Any

import numpy as np
import torch

from sympo.losses import MarginLoss
from sympo.margins import DPO
from sympo.models.texts.classifiers import TinyReward
from sympo.models.texts.language_models import TinyLM
from sympo.models.texts.packed_rows import PackedRows
from sympo.models.texts.policies import Policy
from sympo.objective import Objective
from sympo.training.optimizer import Recipe
from sympo.training.pairwise import PreferenceTrainer
from sympo.types import Encoded, Vocabulary

TINY = TinyLM(hidden_size=16, intermediate_size=24, layers=2, heads=2, max_positions=32)
REWARD = TinyReward(hidden_size=16, intermediate_size=24, layers=2, heads=2, max_positions=32)
VOCABULARY = Vocabulary(size=12, bos=None, eos=10, pad=11)
PAIRS = 24


def encoded(seed: int, prompts: list[np.ndarray]) -> Encoded:
    draw = np.random.default_rng(seed)
    ids = [np.append(np.append(p, draw.integers(0, 10, draw.integers(1, 9))), 10) for p in prompts]
    return Encoded(ids, np.array([len(prompt) for prompt in prompts]))


def make_rows() -> PackedRows:
    draw = np.random.default_rng(0)
    prompts = [draw.integers(0, 10, draw.integers(2, 6)) for _ in range(PAIRS)]
    return PackedRows(encoded(1, prompts), encoded(2, prompts))


def trainer(
    rows: PackedRows,
    loss: MarginLoss,
    tokens: int = 10_000,
    margin: Any = DPO(beta=0.5),  # noqa: B008, frozen
    precision: str = "float32",
    policy: Policy | None = None,
    **recipe: Any,
) -> PreferenceTrainer:
    settings = {"epochs": 2, "batch_size": 12, "learning_rate": 1e-2, "max_grad_norm": 1.0}
    policy = policy or Policy(TINY.build(VOCABULARY, 0), precision)
    labels = np.where(np.arange(PAIRS) % 3 == 0, -1.0, 1.0)
    reference = policy.score(rows, 10_000)
    return PreferenceTrainer(
        policy, rows, labels, reference, Objective(margin, loss),
        Recipe(**{**settings, **recipe}), seed=0, tokens=tokens,
    )  # fmt: skip


def weights(trained: PreferenceTrainer) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in trained.scorer.model.parameters()])
