"""Cheap baselines on a cell's test pairs: the longer response, and a linear model of words.

They are trained on the clean labels of the cell's training pairs, so that a model under noise is
compared with what little effort reaches without noise.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sympo.distributed import processes
from sympo.evaluation.rewards import agreement, clustered_error, gaps
from sympo.identity import joined
from sympo.models.texts.tfidf import Tfidf
from sympo.outcomes import Scored
from sympo.pipelines.shared_stages import Shared
from sympo.runs.stages import Stages
from sympo.types import BadArgument, Evaluation, PreferencePairs

Texts = Sequence[Mapping[str, Any]]
SIDES = ("chosen", "rejected")
# of the linear model; raise it when that is fitted in another way
FITTED = 1


def baselines(
    shared: Shared,
    training: Texts,
    test: Texts,
    pairs: PreferencePairs,
    cluster: np.ndarray,
    scored: Scored,
) -> Evaluation:
    """Accuracies of both baselines against each truth of the test pairs, with standard errors.

    training, test: of each pair the texts `chosen` and `rejected`. pairs, cluster, scored: of the n
    test pairs, as for the cell's own accuracy. Metrics: `baseline/longer/label_accuracy`,
    `baseline/tfidf/label_accuracy` and, with true rewards, `.../order_accuracy`; ties count one
    half. Without any word that occurs in two training responses, tfidf is left out.
    """
    length = shared.dataset.length
    rewards = {"longer": np.array([length(text[side]) for text in test for side in SIDES])}
    if len(words := _rewards_of_words(shared, training, test)):
        rewards["tfidf"] = words
    truths = {"label_accuracy": pairs.label, "order_accuracy": pairs.gap}
    found = Evaluation({}, {})
    for name, reward in rewards.items():
        for accuracy, truth in truths.items():
            if truth is not None:
                scores, path = agreement(gaps(reward, pairs), truth), f"baseline/{name}/{accuracy}"
                found.metrics[path] = float(scores.mean())
                found.metrics[f"{path}_se"] = clustered_error(scores, cluster)
                found.outcomes[path] = scored.pack(scores)
    return found


def _rewards_of_words(shared: Shared, training: Texts, test: Texts) -> np.ndarray:
    """Rewards (2n,) of the test responses, chosen first, by logistic regression on TF-IDF; empty if
    there are no features."""

    def make(folder: Path) -> None:
        if processes.first():
            shared.on_step("baselines: fitting TF-IDF")
            np.savez(folder / "tfidf.npz", rewards=_fitted(training, test))

    # takes seconds: not worth a permanent line
    stages = Stages(shared.stages.root, _say_nothing, shared.stages.since, together=True)
    key = joined(training=_digest(training), test=_digest(test), fitted=FITTED)
    with np.load(stages.get("baselines", key, make) / "tfidf.npz") as found:
        rewards: np.ndarray = found["rewards"]
    return rewards


def _fitted(training: Texts, test: Texts) -> np.ndarray:
    from sklearn.linear_model import LogisticRegression

    sides = [[[text[side] for text in texts] for side in SIDES] for texts in (training, test)]
    if len(training) < 2:
        return np.empty(0)
    try:
        train, other = Tfidf().features(sides[0], sides[1:])
    except BadArgument:  # no n-gram is in two responses
        return np.empty(0)
    apart = (train.matrices[0] - train.matrices[1]).astype(np.float64)
    # log(1 + exp(-w.x)) of every pair; a classifier needs two classes, so every other x is negated
    sign = np.where(np.arange(len(training)) % 2, 1.0, -1.0)
    apart.data *= np.repeat(sign, np.diff(apart.indptr))
    del train  # as large as what is fitted
    model = LogisticRegression(fit_intercept=False, max_iter=1000)
    weights = model.fit(apart, sign).coef_[0]
    return np.stack([matrix @ weights for matrix in other.matrices], axis=1).ravel()


def _say_nothing(text: str) -> None:
    pass


def _digest(texts: Texts) -> str:
    content = json.dumps([[text[side] for side in SIDES] for text in texts])
    return hashlib.blake2b(content.encode(), digest_size=8).hexdigest()
