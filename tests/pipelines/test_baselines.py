"""The longer response and a linear model of words, on pairs whose answer is known."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sympo.data.gold_language import GoldLanguage
from sympo.data.in_memory import TextPairs
from sympo.outcomes import Scored, unpack
from sympo.pipelines.baselines import baselines
from sympo.runs.stages import Stages
from sympo.types import Evaluation, chosen_over_rejected

TRAINING = [("a good one", "a bad one"), ("good enough", "bad luck"), ("so good", "so bad")] * 4


def texts(pairs: list[tuple[str, str]]) -> list[dict[str, Any]]:
    return [{"chosen": chosen, "rejected": rejected} for chosen, rejected in pairs]


def found(
    folder: Path,
    training: list[tuple[str, str]],
    test: list[tuple[str, str]],
    notes: list[str] | None = None,
    gap: np.ndarray | None = None,
    dataset: Any = None,
) -> Evaluation:
    ids = np.arange(len(test), dtype=np.uint64)
    pairs = chosen_over_rejected(ids, gap)
    notes = [] if notes is None else notes
    shared: Any = SimpleNamespace(
        dataset=dataset or TextPairs([]), on_step=notes.append, stages=Stages(folder, notes.append)
    )
    return baselines(
        shared, texts(training), texts(test), pairs, np.arange(len(test)), Scored(ids, ids)
    )


def test_the_longer_response_counts_ties_as_one_half(tmp_path: Path) -> None:
    test = [("longer", "short"), ("no", "longer"), ("same", "ties"), ("much longer", "short")]
    made = found(tmp_path, TRAINING, test)
    path = "baseline/longer/label_accuracy"
    assert made.metrics[path] == (1 + 0 + 0.5 + 1) / 4
    # the mean of squared errors over n, for pairs of different prompts
    scores = np.array([1, 0, 0.5, 1])
    assert made.metrics[f"{path}_se"] == pytest.approx(scores.std() / 2)
    np.testing.assert_array_equal(unpack([made.outcomes[path]], 4)[0], scores)
    assert "baseline/longer/order_accuracy" not in made.metrics


def test_words_learn_from_clean_training_pairs(tmp_path: Path) -> None:
    test = [("good", "bad"), ("this is good", "this is bad"), ("bad", "good"), ("so", "new")]
    made = found(tmp_path, TRAINING, test)
    path = "baseline/tfidf/label_accuracy"
    # the last pair has a word that is as frequent on either side, and an unknown one
    np.testing.assert_allclose(unpack([made.outcomes[path]], 4)[0][:3], [1, 1, 0])
    turned = found(tmp_path, [(b, a) for a, b in TRAINING], test)
    np.testing.assert_allclose(unpack([turned.outcomes[path]], 4)[0][:3], [0, 0, 1])


def test_accuracies_are_against_both_truths(tmp_path: Path) -> None:
    test = [("good and long", "bad"), ("good", "bad and long")]
    made = found(tmp_path, TRAINING, test, gap=np.array([1.0, -1.0])).metrics
    # the second label is opposite to the true order
    assert made["baseline/longer/label_accuracy"] == 0.5
    assert made["baseline/longer/order_accuracy"] == 1
    assert made["baseline/tfidf/label_accuracy"] == 1
    assert made["baseline/tfidf/order_accuracy"] == 0.5


def test_the_linear_model_is_fitted_once_for_all_cells(tmp_path: Path) -> None:
    notes: list[str] = []
    test = [("good", "bad"), ("fine", "bad")]
    first = found(tmp_path, TRAINING, test, notes)
    assert found(tmp_path, TRAINING, test, notes) == first
    assert notes == ["baselines: fitting TF-IDF"]
    found(tmp_path, TRAINING[:6], test, notes)
    found(tmp_path, TRAINING, test[:1], notes)
    assert len(notes) == 3


@pytest.mark.parametrize("training", [[("one", "two"), ("three", "four")], [("a b", "c d")]])
def test_without_a_repeated_word_there_is_no_linear_model(
    tmp_path: Path, training: list[tuple[str, str]]
) -> None:
    made = found(tmp_path, training, [("one", "three")])
    assert set(made.outcomes) == {"baseline/longer/label_accuracy"}


def test_symbols_of_the_language_have_one_length(tmp_path: Path) -> None:
    test = [("s1 s2 s3", "s10 s20 s30"), ("s1 s2 s3", "s10 s20")]
    made = found(tmp_path, TRAINING, test, dataset=GoldLanguage()).metrics
    assert made["baseline/longer/label_accuracy"] == 0.75
